"""How a service is addressed and its responses are read: the contract, found or declared."""
