"""Training of routers that say where a cache may be reused: Learning-to-Cache and HarmoniCa. See README.md."""
