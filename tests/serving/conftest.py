from model_server import portrait, portrait_url, served_model, server  # noqa: F401 - fixtures
