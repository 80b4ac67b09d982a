"""The bundled default: a small LTX-2.3-architecture model and the world it was trained on."""

from sparks.models.weights import weights_path

__all__ = ["weights_path"]
