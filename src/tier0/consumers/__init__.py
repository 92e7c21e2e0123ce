"""What stands on the client in an application: an API's routes, an agent's client and its tool. They hold no resilience of their own."""
