"""What a line of metrics and the curves show."""

import matplotlib.figure

from ssl_jax import logs


def test_an_accuracy_is_shown_with_its_chance_beside_it(tmp_path, capfd):
    values = {"nsp_chance": 0.68, "nsp_accuracy": 0.74, "loss": 2.0, "all_tokens_chosen_accuracy": 0.3,
              "all_tokens_chosen_chance": 0.1, "rtd_replaced": 0.1}  # fmt: skip
    log = logs.Log(tmp_path, 0, 10, names=("seed-4", "seed-5"))
    log.metrics(
        3, "heldout", {name: [value, 1.5 * value if name == "loss" else value] for name, value in values.items()}
    )
    log.close()
    assert capfd.readouterr().out.splitlines() == [
        "step 3  heldout  loss 2.5 (2 to 3)  all_tokens_chosen_accuracy 0.3 (0.3 to 0.3; chance 0.1)  "
        "nsp_accuracy 0.74 (0.74 to 0.74; chance 0.68)  rtd_replaced 0.1 (0.1 to 0.1)"
    ]
    # In the files it is a metric of its own.
    assert '"nsp_accuracy": 0.74, "nsp_chance": 0.68' in (tmp_path / "seed-4" / "metrics.jsonl").read_text()


def test_curves_have_chance_in_the_panel_of_its_accuracy(tmp_path, monkeypatch):
    drawn = {}

    def look(figure, file, **options):
        for axis in figure.axes:
            if axis.get_visible():
                drawn[axis.get_title()] = [(line.get_label(), list(line.get_ydata())) for line in axis.get_lines()]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", look)
    log = logs.Log(tmp_path, 0, 10)
    for step, accuracy in ((5, 0.7), (10, 0.8)):
        log.metrics(step, "heldout", {"loss": [2.0], "nsp_accuracy": [accuracy], "nsp_chance": [0.6]})
    log.draw_curves()
    log.close()
    assert drawn == {
        "loss": [("heldout", [2.0, 2.0])],
        "nsp accuracy": [("heldout", [0.7, 0.8]), ("heldout, by chance", [0.6, 0.6])],
    }
