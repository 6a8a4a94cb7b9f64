"""Model folders read without loading them: indexes, configurations, weight headers. No torch, no network."""
