"""Ray: a cluster that workers and tasks are placed on, one machine included. Nothing here is loaded without it."""
