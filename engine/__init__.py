"""The mathematics of gradflock: pure, deterministic, and free of files, sockets and clocks."""
