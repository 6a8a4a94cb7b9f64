"""What runs jobs and keeps things: engine, settings, files, models. Above core, below cli and servers."""
