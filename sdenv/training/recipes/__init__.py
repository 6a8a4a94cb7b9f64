"""The recipes; reached by name through the table of `sdenv.training`, never imported by it."""
