"""The two completions of each prompt that are most representative and least alike.

Maximises (c̄_i + c̄_j)/2 − λ c_ij over the pairs of a prompt, c being the cosine similarity and
c̄_i its mean over the other completions: annotation-efficient preference optimisation (AEPO) for
subsets of two. Labels are not used. Prompts take turns, and from the second turn on the same
question is asked again, but for ties.

The publication compares embeddings of sentences; here it is the pool's features, whose origin, on
which cosines depend, is arbitrary where they are no embeddings. Its code searches greedily over
subsets, here all pairs are compared.

Family: diversity.
Source: Jinnai and Honda 2024, "Annotation-Efficient Language Model Alignment via Diverse and
    Representative Response Texts", arXiv 2405.13541; λ = 1 is the default of its code.
Assumes: that completions of similar features are equally informative. Lengths of features do not
    count: two completions in opposite directions are far apart however short.
Cost: O(N K² d).
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Duels, InvalidParameter, Pairs, View, duel_per_prompt, masked_argmax


@dataclass(frozen=True)
class Aepo(Design):
    """One pair a prompt, representative and diverse; cycles through the prompts.

    Attributes:
        diversity: λ, what a unit of similarity between the two costs.
    """

    diversity: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.diversity) and self.diversity >= 0):
            raise InvalidParameter(
                f"diversity must be a finite number, 0 or more, got {self.diversity}."
            )

    def select(self, view: View, n: int) -> Pairs:
        """Choose each prompt's pair of highest score, prompts with the fewest labels first."""
        pool, k = view.pool, view.pool.n_completions
        length = np.linalg.norm(pool.phi, axis=2, keepdims=True)
        unit = pool.phi / np.where(length > 0, length, 1.0)
        similarity = unit @ unit.transpose(0, 2, 1)
        others = similarity.sum(axis=2) - np.einsum("nii->ni", similarity)
        represents = others / (pool.valid.sum(axis=1, keepdims=True) - 1)
        score = (represents[:, :, None] + represents[:, None, :]) / 2 - self.diversity * similarity
        # Rounded, so that equal completions tie and chance decides between them.
        mask, score = pool.pair_mask.reshape(-1, k * k), score.reshape(-1, k * k).round(12)

        def duel() -> Duels:
            first, second = np.divmod(masked_argmax(mask, score, view.rng), k)
            return first, second

        return duel_per_prompt(view, duel, n)
