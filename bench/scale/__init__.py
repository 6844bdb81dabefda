"""How costs grow with the cluster: measured on one router and one Redis, and what follows for many."""
