"""Many files, each made by a job of its own: here, in processes, or on many machines."""
