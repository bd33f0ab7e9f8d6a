"""The three doors. They translate between HTTP and the services, and decide nothing."""
