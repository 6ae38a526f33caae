"""The description of the HTTP interface: what routes say of themselves, and the OpenAPI document made of it."""
