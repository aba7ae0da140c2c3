"""Averages of predictions, by hand."""

import numpy as np

from ssl_jax import ensemble


def test_classes_are_averaged_as_probabilities():
    # Two models are all but sure of class 1 and of class 0; the third leans to class 1. A mean of logits would say 0.
    logits = [np.log([[0.04, 0.96]]), np.log([[1 - 1e-6, 1e-6]]), np.log([[0.4, 0.6]])]
    made = np.exp(ensemble.by_probability(logits, 2))
    np.testing.assert_allclose(made, [[(0.04 + 0.999999 + 0.4) / 3, (0.96 + 1e-6 + 0.6) / 3]], rtol=1e-6)
    assert made.argmax() == 1 and np.mean(logits, axis=0).argmax() == 0


def test_scores_are_averaged_as_they_are():
    np.testing.assert_array_equal(
        ensemble.by_probability([np.array([[1.0], [4.0]]), np.array([[3.0], [2.0]])], 0), [[2], [3]]
    )


def test_tokens_are_averaged_one_by_one():
    logits = [np.log([[0.5, 0.5, 0.9, 0.1]]), np.log([[0.1, 0.9, 0.5, 0.5]])]
    np.testing.assert_allclose(np.exp(ensemble.by_token(logits, 2)), [[0.3, 0.7, 0.7, 0.3]], rtol=1e-6)


def test_a_span_has_the_mean_score_of_the_models_that_propose_it():
    first = [[(0, 0, 1.0), (3, 4, 5.0), (6, 6, 2.0)], [(0, 0, 0.0), (1, 1, 1.0), (2, 2, 2.0)]]
    second = [[(0, 0, 3.0), (3, 4, 1.0), (7, 8, 4.0)], [(0, 0, 1.0), (2, 2, 4.0), (1, 1, 3.0)]]
    made = ensemble.by_candidate([np.array(x, float).reshape(2, -1) for x in (first, second)], 0).reshape(2, -1, 3)
    assert made[0].tolist() == [[0, 0, 2], [3, 4, 3], [6, 6, 2], [7, 8, 4]]
    assert made[1].tolist() == [[0, 0, 0.5], [1, 1, 2], [2, 2, 3], [0, 0, -np.inf]]
