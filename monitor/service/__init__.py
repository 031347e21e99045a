"""The wiring: starts, supervises and stops the rooms."""
