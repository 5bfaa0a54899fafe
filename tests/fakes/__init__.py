"""Stand-ins for the outside world: a tiny model, and servers that speak to the real SwanLab and ModelScope clients."""
