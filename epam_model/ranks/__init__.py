"""Several processes that train one model: start, collective operations, and the layers that need them."""
