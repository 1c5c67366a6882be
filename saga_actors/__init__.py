"""A durable, compensation-based saga coordinator on Thespian actors."""
