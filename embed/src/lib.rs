//! Embeddings of text by multilingual-e5-small on the CPU.
