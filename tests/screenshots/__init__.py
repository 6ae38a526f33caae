"""Pictures of every state of the page, for people who look at them."""
