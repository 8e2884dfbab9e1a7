"""The asynchronous edge: sockets, tasks, the store thread, timers, signals, the command line."""
