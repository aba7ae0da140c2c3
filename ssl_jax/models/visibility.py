"""Which tokens see which: the attention mask of the trunk, and what objectives on attention count."""

from ssl_jax.lazy import jnp  # the rows of objectives are read before JAX is loaded


def visible(batch, causal, band=0, start=0):
    """Attention mask for each kind of layer, S positions over T columns: bool [kinds, B, 1, S or 1, T].

    Kind 0 is dense attention; kind 1, present if there is a `band`, sees only the last so many columns. `batch['mask']`
    [B, T] is true for real tokens; with `batch['documents']` [B, T] attention stays within a document. The S positions
    are the columns starting at `start`.
    """
    allowed = jnp.asarray(batch["mask"], bool)[:, None, None, :]
    documents = within_documents(batch)
    if documents is not None:
        allowed &= documents
    query = start + jnp.arange(batch["tokens"].shape[1])[:, None]
    column = jnp.arange(batch["mask"].shape[1])
    if causal:
        allowed &= column <= query
    if band:
        return jnp.stack([allowed, allowed & (column > query - band)])
    return allowed[None]


def within_documents(batch):
    """bool [B, 1, S, S], true where two tokens are of one document; None if the batch does not tell documents apart."""
    if "documents" not in batch:
        return None
    return batch["documents"][:, None, :, None] == batch["documents"][:, None, None, :]
