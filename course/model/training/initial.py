"""Initial weights: random, but for a handful of heads that already know where to look.

Looking a pair up in the context takes two steps: a head that tells each token what stood before it, and a head
in the next layer that finds the token whose predecessor equals the current one and copies it. Random weights
find this only after tens of millions of tokens, because neither step pays without the other. Sketching both
shortens the search to minutes; all of it stays trainable (the idea is known as mimetic initialisation).
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

EMBEDDING_STD = 0.05
SHARED_COMPONENT = 0.5  # of every embedding, in dimension 0: what makes attention by position alone possible
LOOK_BACK_GAP = 12.0  # by how much the attention logit of the wanted token exceeds its neighbours'
OFFSETS = (1, 2)  # tokens back, for the heads 0 and 1, which share a key head
MATCH_LOGIT = 25.0  # attention logit of a token whose predecessor equals the current token
COPY_GAIN = 0.3
SHARP_PAIRS = 4  # rotary pairs that turn fast enough to tell neighbours apart
FAST_PAIRS = 6  # rotary pairs that turn too fast to compare contents over a distance


@torch.no_grad()
def sketch_lookup(model: LlamaForCausalLM) -> None:
    """Set embeddings, the look-back heads of layer 0 and the matching heads of layer 1, in place."""
    config = model.config
    hidden, half = config.hidden_size, config.hidden_size // config.num_attention_heads // 2
    embedding = model.model.embed_tokens.weight
    embedding.normal_(std=EMBEDDING_STD)
    embedding[:, 0] = SHARED_COMPONENT
    size = (EMBEDDING_STD**2 * hidden + SHARED_COMPONENT**2) ** 0.5  # length of an embedding
    normed = SHARED_COMPONENT / size * hidden**0.5
    frequencies = model.model.rotary_emb.inv_freq  # (head_dim / 2,), radians per token
    group = model.model.layers[0].self_attn.num_key_value_groups

    def rows(head: int) -> slice:
        return slice(2 * half * head, 2 * half * (head + 1))

    # Layer 0: logit at distance d is gain * sum(cos(frequency * (d - offset))), largest at d = offset.
    back = model.model.layers[0].self_attn
    fast = torch.arange(half) < SHARP_PAIRS
    gain = LOOK_BACK_GAP * (2 * half) ** 0.5 / float((1 - frequencies.cos())[fast].sum())
    scale = gain**0.5 / normed
    read, write = (torch.linalg.qr(torch.randn(hidden, 2 * half))[0].T for _ in range(2))  # (head_dim, hidden)
    read[:, 0] = 0
    back.k_proj.weight[rows(0)] = 0  # by position alone: contents would be noise beside it
    back.k_proj.weight[rows(0), 0] = torch.cat([fast, torch.zeros(half)]) * scale
    back.v_proj.weight[rows(0)] = read
    for head, offset in enumerate(OFFSETS[:group]):
        turned = torch.cat([(frequencies * offset).cos(), -(frequencies * offset).sin()])
        back.q_proj.weight[rows(head)] = 0
        back.q_proj.weight[rows(head), 0] = turned * scale
    # What the head brings shall be as long as the embedding itself.
    back.o_proj.weight[:, rows(0)] = write.T * size / (2 * half) ** 0.5

    # Layer 1: compare the current token (read) with the predecessor noted at each position (write).
    match = model.model.layers[1].self_attn
    slow = torch.ones(2 * half)
    slow[:FAST_PAIRS] = slow[half : half + FAST_PAIRS] = 0
    noted = (2 * half / 2) ** 0.5  # length of either side after the norm: half the square belongs to each part
    length2 = noted * (hidden / 2) ** 0.5 * float(slow.mean())
    scale = (MATCH_LOGIT * (2 * half) ** 0.5 / length2) ** 0.5
    for group_index in range(2):
        match.k_proj.weight[rows(group_index)] = write * slow[:, None] * scale
        carry = torch.linalg.qr(torch.randn(hidden, 2 * half))[0].T
        match.v_proj.weight[rows(group_index)] = carry
        for head in range(group_index * group, (group_index + 1) * group):
            match.q_proj.weight[rows(head)] = read * slow[:, None] * scale
            match.o_proj.weight[:, rows(head)] = carry.T * COPY_GAIN
