"""Text embedders: onnxruntime in worker threads, and the installer of the default model."""

from node.embed.embedder import Embedder, EmbedderOptions, OnnxEmbedder, open_embedder

__all__ = ["Embedder", "EmbedderOptions", "OnnxEmbedder", "open_embedder"]
