"""Settings, each declared once; read from flags, variables and a settings file, and checked."""
