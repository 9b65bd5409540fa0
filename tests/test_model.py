"""Models: made, saved, loaded, sampled; and what is said of a folder that is none."""

from __future__ import annotations

import json
import pickle
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import polydiff
from polydiff.domain import Domain
from polydiff.engine.noise import derived_seed
from polydiff.engine.schedules import EDM, RectifiedFlow
from polydiff.errors import PluginError, PolydiffError, UsageError
from polydiff.model import Model
from polydiff.sampling.table import start_time
from polydiff.workflows.replay import replay
from tests import series


@pytest.fixture(scope="module")
def model() -> Model:
    return series.model()


@pytest.fixture(autouse=True)
def _known() -> None:
    series.register()


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    return model.save(tmp_path / "model")


def values(sample: Any) -> np.ndarray:
    return sample.example.values


# --- folders ------------------------------------------------------------------------------------------------


def test_a_saved_model_is_the_same_in_half_the_bytes(model: Model, folder: Path) -> None:
    again = polydiff.load(folder)
    assert again.manifest == model.manifest
    assert again.hash == polydiff.load(str(folder)).hash
    for name, x in model.network.state_dict().items():
        assert torch.allclose(again.network.state_dict()[name], x, rtol=1e-3, atol=1e-4)
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["schedule"]["name"] == "edm.v1"
    assert [c["name"] for c in manifest["conditions"]] == ["label"]


def test_loading_leaves_the_callers_randomness_alone(folder: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    polydiff.load(folder)
    assert torch.rand(1) == expected


def spoil_truncate(folder: Path) -> None:
    data = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(data[:-10])


def spoil_truncate_header(folder: Path) -> None:
    data = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(data[:20])


def spoil_empty(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"")


def spoil_pickle(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"a": 1}))


def spoil_torch_save(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "weights.safetensors")


def spoil_garbage(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"\x08" + bytes(7) + b"garbage!" + bytes(8))


def spoil_no_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def spoil_only_pickle(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    torch.save({}, folder / "model.pt")


def spoil_json(folder: Path) -> None:
    (folder / "model.json").write_text('{"schema_version": 1,')


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil_newer(folder: Path) -> None:
    edit(folder, schema_version=2, a_new_idea={})


def spoil_not_ours(folder: Path) -> None:
    (folder / "model.json").write_text('{"architectures": ["Bert"]}')


def spoil_unknown_key(folder: Path) -> None:
    edit(folder, sampeling={})


def spoil_config(folder: Path) -> None:
    config = json.loads((folder / "model.json").read_text())["config"]
    edit(folder, config={**config, "widht": 3})


def spoil_misfit(folder: Path) -> None:
    config = json.loads((folder / "model.json").read_text())["config"]
    edit(folder, config={**config, "depth": 2})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_truncate, "truncated"),
        (spoil_truncate_header, "truncated"),
        (spoil_empty, "truncated"),
        (spoil_pickle, "a pickle, which can run code"),
        (spoil_torch_save, "a pickle, which can run code"),
        (spoil_garbage, "not a safetensors file"),
        (spoil_no_weights, "missing"),
        (spoil_only_pickle, r"model\.pt: a pickle"),
        (spoil_json, "cannot be read as JSON"),
        (spoil_newer, "schema 2, and this polydiff reads up to 1"),
        (spoil_not_ours, "no schema_version"),
        (spoil_unknown_key, "Did you mean 'sampling'"),
        (spoil_config, "Did you mean 'width'"),
        (spoil_misfit, "does not fit the network"),
    ],
)
def test_a_bad_folder_is_one_line(folder: Path, spoil: Any, message: str) -> None:
    spoil(folder)
    with pytest.raises(UsageError, match=message) as error:
        polydiff.load(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_a_model_of_another_domain(folder: Path) -> None:
    with pytest.raises(UsageError, match="a model of the domain 'mydata', not of 'audio'"):
        polydiff.load(folder, domain="audio")
    edit(folder, domain="audoi")
    with pytest.raises(PluginError, match=r"needs the domain 'audoi'.*no plugin brings"):
        polydiff.load(folder)


def test_weights_of_another_domain(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(series.register().MyData):  # type: ignore[name-defined,misc]
        name = "other"

    monkeypatch.setattr(polydiff.plugins.registry, "_registry", None)
    series.register()
    polydiff.register(Other)
    edit(folder, domain="other")
    with pytest.raises(UsageError, match="weights of a 'mydata' model"):
        polydiff.load(folder)


@pytest.mark.parametrize(
    ("ref", "kind", "message"),
    [
        ("mydat", PluginError, r"Did you mean 'mydata'\?"),
        ("mydata", UsageError, "mydata has no"),
        ("mydata/best", UsageError, "unknown preset mydata/best"),
        ("./nowhere", UsageError, "no such model folder"),
        ("nowhere.pt", UsageError, "no such model folder"),
    ],
)
def test_a_reference_that_leads_nowhere(ref: str, kind: type[PolydiffError], message: str) -> None:
    with pytest.raises(kind, match=message):
        polydiff.load(ref)


def test_a_hub_reference_fetches_a_model_folder_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        if name == "gone/model":
            raise LocalEntryNotFoundError("offline and not cached")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert polydiff.load("hf://owner/name@v1").ref == "hf://owner/name@v1"
    assert asked == [("owner/name", "v1", ["model.json", "weights.safetensors", "tables/*.json"])]
    with pytest.raises(PolydiffError, match=r"hf://gone/model: cannot be fetched \(offline"):
        polydiff.load("hf://gone/model")


# --- sampling -----------------------------------------------------------------------------------------------


def test_sample_i_has_seed_plus_i_in_whatever_company(model: Model) -> None:
    together = model.sample(4, seed=7, steps=3, conditions={"label": "warm"})
    assert [sample.seed for sample in together] == [7, 8, 9, 10]
    [alone] = model.sample(1, seed=9, steps=3, conditions={"label": "warm"})
    np.testing.assert_array_equal(values(alone), values(together[2]))
    shard = model.sample(4, seed=7, steps=3, conditions={"label": "warm"}, indices=[3, 1])
    np.testing.assert_array_equal(values(shard[0]), values(together[3]))
    batched = model.sample(4, seed=7, steps=3, conditions={"label": "warm"}, batch_size=3)
    for a, b in zip(batched, together, strict=True):
        np.testing.assert_allclose(values(a), values(b), atol=1e-4)


def test_a_seed_is_drawn_and_recorded(model: Model) -> None:
    first, second = model.sample(steps=2)[0], model.sample(steps=2)[0]
    assert first.seed != second.seed
    np.testing.assert_array_equal(values(first), values(model.sample(seed=first.seed, steps=2)[0]))


def test_lists_of_conditions_go_round(model: Model) -> None:
    samples = model.sample(seed=0, steps=2, conditions={"label": ["warm", {"warm": 1, "cold": 3}, None]})
    asked = [sample.provenance.conditions["label"] for sample in samples]
    assert asked == ["warm", {"cold": 0.75, "warm": 0.25}, None]
    more = model.sample(4, seed=0, steps=2, conditions={"label": ["warm", "cold"]})
    assert [sample.provenance.conditions["label"] for sample in more] == ["warm", "cold"] * 2
    [warm] = model.sample(seed=0, steps=2, conditions={"label": "warm"})
    np.testing.assert_array_equal(values(warm), values(samples[0]))
    assert np.abs(values(model.sample(seed=0, steps=2)[0]) - values(warm)).max() > 0


def test_guidance_reaches_the_network(model: Model) -> None:
    plain, guided, same = (
        values(model.sample(seed=0, steps=3, conditions={"label": "warm"}, guidance_scale=scale)[0])
        for scale in (None, 3.0, 1.0)
    )
    assert np.abs(plain - guided).max() > 0
    np.testing.assert_array_equal(plain, same)


def test_ragged_sizes(model: Model) -> None:
    assert [values(model.sample(seed=0, steps=2, length=n)[0]).shape for n in (5, 30)] == [(5, 1), (30, 1)]


def test_sizes_may_differ_in_one_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        type(model.domain), "shapes", lambda self, request: {"rows": (5 + request.seed % 4, 1)}
    )
    alone = model.sample(4, seed=0, steps=3, conditions={"label": "warm"})
    together = model.sample(4, seed=0, steps=3, conditions={"label": "warm"}, batch_size=4)
    assert [len(values(sample)) for sample in together] == [5, 6, 7, 8]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(values(a), values(b), atol=1e-3)


def test_strength_says_how_far_from_the_source(model: Model) -> None:
    source = series.year()
    apart = []
    for strength in (0.05, 0.4, 1.0):
        samples = model.sample(6, seed=1, steps=4, source=source, strength=strength)
        apart.append(np.mean([np.abs(values(s) - source.values).mean() for s in samples]))
    assert apart[0] < apart[1] < apart[2]
    plain = model.sample(6, seed=1, steps=4)
    forgotten = model.sample(6, seed=1, steps=4, source=source, strength=1.0)
    np.testing.assert_array_equal(values(plain[5]), values(forgotten[5]))
    assert model.plan(source=source).strength == 0.5


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
@pytest.mark.parametrize("grid", ["karras", "uniform_t", "uniform_log_snr", "quadratic"])
def test_a_variation_takes_the_steps_it_is_given(model: Model, steps: int, grid: str) -> None:
    plan = model.plan(source=series.year(), strength=0.3, steps=steps, grid=grid, solver="ddim")
    assert plan.table.nfe == steps
    assert plan.table.rows[0].t == pytest.approx(start_time(model.schedule, 0.3))


def test_a_strength_is_the_same_noise_in_every_schedule() -> None:
    for schedule in (EDM(), RectifiedFlow()):
        t = torch.tensor(start_time(schedule, 0.5), dtype=torch.float64)
        assert float(schedule.sigma(t) / schedule.alpha(t)) == pytest.approx(1.0)
        assert start_time(schedule, 1) == 1


def test_what_is_kept_is_exact(model: Model) -> None:
    source = series.year()
    [kept] = model.sample(seed=0, steps=3, source=source, keep="0:4")
    np.testing.assert_array_equal(values(kept)[:4], source.values[:4])
    assert np.abs(values(kept)[4:] - source.values[4:]).min() > 0
    [redone] = model.sample(seed=0, steps=3, source=source, redo="0:4")
    np.testing.assert_array_equal(values(redone)[4:], source.values[4:])
    [longer] = model.sample(seed=0, steps=3, source=source, keep="0:12", length=20)
    np.testing.assert_array_equal(values(longer)[:12], source.values)
    assert values(longer).shape == (20, 1)


def test_threads_share_a_model(model: Model) -> None:
    def make(seed: int) -> np.ndarray:
        return values(model.sample(seed=seed, steps=4, conditions={"label": "cold"})[0])

    alone = [make(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for expected, found in zip(alone, pool.map(make, range(4)), strict=True):
            np.testing.assert_array_equal(expected, found)


def test_samples_side_by_side_are_those_made_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polydiff.sampling.plan.cores", lambda: 4)
    monkeypatch.setattr("polydiff.runtime.thread_team.GAIN", 0.0)  # more threads always seem worth it
    plan = model.plan(9, seed=3, steps=3)
    made = list(plan.stream())
    assert [sample.provenance.index for sample in made] == list(range(9))
    for sample in made:
        [alone] = model.sample(seed=sample.seed, steps=3)
        np.testing.assert_array_equal(values(sample), values(alone))


def test_an_error_in_one_of_the_threads_is_the_errors_own(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polydiff.sampling.plan.cores", lambda: 2)
    stream = model.plan(4, seed=3, steps=3).stream()
    next(stream)
    monkeypatch.setattr(model.network, "forward", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(stream)


@pytest.mark.parametrize("guidance", [None, lambda denoiser: denoiser])
def test_what_users_get_are_ordinary_tensors(model: Model, guidance: Any) -> None:
    plan = model.plan(2, seed=3, steps=3, guidance=guidance)
    seen: list[bool] = []
    for _, state in plan.states(callbacks=[lambda run: seen.append(run.x["rows"].is_inference())]):
        assert not any(x.is_inference() for x in state.values())
        assert torch.autograd.grad((state["rows"].requires_grad_() ** 2).sum(), state["rows"])
    assert set(seen) == {guidance is None}  # what a caller's function does may need derivatives


def test_samples_in_parts_are_the_same_in_any_batch(model: Model) -> None:
    """A domain that makes a series in as many parts as its length has dozens, each going on from the last."""

    class InParts(type(model.domain)):  # type: ignore[misc]
        def parts(self, request: Any) -> Generator[Any, Any, Any]:
            whole = yield replace(request, options=self.Options(length=12))
            for number in range(1, request.options.length // 12):
                seed = derived_seed(request.seed, "part", number)
                part = replace(
                    request,
                    seed=seed,
                    source=whole,
                    keep="0:12",
                    options=self.Options(length=12 + 12 * number),
                )
                whole = yield part
            return self.finish(whole, request)

    pieces = Model(InParts(model.domain.config), model.network, model.manifest)
    one, three = (pieces.sample(2, seed=8, steps=3, length=n, batch_size=2) for n in (12, 36))
    for i in range(2):
        assert values(three[i]).shape == (36, 1)
        np.testing.assert_array_equal(values(three[i])[:12], values(one[i]))
        [alone] = pieces.sample(seed=8 + i, steps=3, length=36, batch_size=1)
        np.testing.assert_allclose(values(alone), values(three[i]), atol=1e-3)
    assert np.abs(values(three[0])[12:24] - values(three[0])[24:]).max() > 0.1


def test_a_place_whose_sample_is_finished_goes_to_the_next(model: Model) -> None:
    """Samples of 1, 2, 3, 1, 2 and 3 parts, two at a time: seven batches, where pairs that wait for each
    other would take eight."""

    class Ragged(type(model.domain)):  # type: ignore[misc]
        def parts(self, request: Any) -> Generator[Any, Any, Any]:
            for number in range(1 + request.seed % 3):
                made = yield replace(request, seed=derived_seed(request.seed, "part", number))
            return self.finish(made, request)

    ragged = Model(Ragged(model.domain.config), model.network, model.manifest)
    sizes: list[int] = []
    plan = ragged.plan(6, seed=0, steps=2, batch_size=2)
    made = [sample.provenance.index for sample in plan.stream(watch=lambda t, x: sizes.append(len(t)))]
    assert made == list(range(6))
    assert sizes[::2] == [2, 2, 2, 2, 2, 1, 1]


def test_a_stream_stops_when_the_reader_does(model: Model) -> None:
    calls = []
    stream = model.plan(100, seed=0, steps=2).stream(watch=lambda t, x: calls.append(float(t[0])))
    next(stream)
    stream.close()
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least 1"),
        ({"steps": 0}, "at least 1"),
        ({"conditions": {"labl": "warm"}}, r"Did you mean 'label'\?"),
        ({"conditions": {"label": "wram"}}, r"Did you mean 'warm'\?"),
        ({"conditions": {"label": []}}, "empty list"),
        ({"label": "warm"}, r"label is a condition: write conditions=\{'label'"),
        ({"lenght": 3}, r"Did you mean 'length'\?"),
        ({"length": 0}, "greater than or equal to 1"),
        ({"solver": "adems"}, r"Did you mean 'adams'\?"),
        ({"grid": "karas"}, r"Did you mean 'karras'\?"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"batch_size": 0}, "batch_size"),
        ({"strength": 0.5}, "strength needs a source"),
        ({"keep": "0:3"}, "keep needs a source"),
        ({"source": "nowhere.csv"}, "no such file"),
        ({"source": "year", "strength": 0}, "strength must be above 0"),
        ({"source": "year", "keep": "0:3", "redo": "3:6"}, "exclude each other"),
        ({"source": "year", "keep": "3:99"}, r"'3:99': a region is FIRST:LAST"),
        ({"source": "year", "strength": 0.5, "length": 5}, "a variation has the size of its source"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"device": "gpu"}, "device 'gpu' cannot be used"),
    ],
)
def test_a_bad_argument_is_one_line(model: Model, arguments: dict[str, Any], message: str) -> None:
    if arguments.get("source") == "year":
        arguments = {**arguments, "source": series.year()}
    with pytest.raises(UsageError, match=message) as error:
        model.sample(**arguments)
    assert "\n" not in str(error.value)


# --- results ------------------------------------------------------------------------------------------------


def test_samples_save_show_and_replay(model: Model, folder: Path, tmp_path: Path) -> None:
    loaded = polydiff.load(folder)
    samples = loaded.sample(2, seed=3, steps=3, conditions={"label": "warm"}, guidance_scale=2, length=9)
    paths = samples.save(tmp_path / "out")
    assert [p.name for p in paths] == ["0000.csv", "0001.csv"]
    assert (tmp_path / "out" / "contact.png").read_bytes().startswith(b"\x89PNG")
    assert samples[0].title == "warm · seed 3"
    assert "<img" in samples._repr_html_()
    assert samples[:1].examples[0] is samples[0].example
    again = replay(f"{paths[1]}.json")
    assert again.identical
    record = json.loads(Path(f"{paths[1]}.json").read_text())
    assert record["seed"] == 4
    # "+cpu" may be left out
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["options"] == {"length": 9}


@pytest.mark.parametrize("how", [{"strength": 0.4}, {"keep": "0:4"}, {"redo": "2:5", "strength": 0.6}])
def test_a_source_is_part_of_the_record(folder: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    loaded = polydiff.load(folder)
    path = tmp_path / "source.csv"
    loaded.domain.save(series.year(), path)
    [sample] = loaded.sample(seed=0, steps=3, source=path, solver="ddpm", **how)
    sample.save(tmp_path / "x.csv")
    assert replay(tmp_path / "x.csv.json").identical
    path.write_text(path.read_text() + "1\n")
    with pytest.raises(UsageError, match="the file has changed"):
        replay(tmp_path / "x.csv.json")


def test_a_replay_says_when_the_model_changed(folder: Path, tmp_path: Path) -> None:
    loaded = polydiff.load(folder)
    [sample] = loaded.sample(seed=0, steps=2)
    sample.save(tmp_path / "x.csv")
    loaded.network.state_dict()["write.bias"].add_(1)
    loaded.save(folder)
    with pytest.raises(PolydiffError, match="not the model that made"):
        replay(tmp_path / "x.csv.json")


def test_a_domain_gets_honest_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(Domain):
        name = "plain"
        suffixes = (".txt",)

        def load(self, path: Path) -> Any: ...
        def save(self, example: Any, path: Path) -> Any: ...
        def encode(self, examples: Any) -> Any:
            return {"x": torch.tensor(examples)[:, None, None]}, {}

        def decode(self, state: Any, mask: Any) -> Any: ...
        def processes(self) -> Any: ...
        def network(self) -> Any: ...
        def shapes(self, request: Any) -> Any: ...
        def preview(self, example: Any) -> Any: ...

    plain = Plain()
    assert len(plain.conditions()) == 0
    assert plain.metrics() == {}
    assert plain.recipes() == {}
    assert plain.distance(1.0, 3.5) == 2.5
    assert plain.augment("x", {}, 0) == ("x", {})
    with pytest.raises(TypeError, match="abstract"):
        Domain()  # type: ignore[abstract]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_guidance_is_chosen_by_name_or_by_a_function(model: Model) -> None:
    asked = {"seed": 0, "steps": 3, "conditions": {"label": "warm"}, "guidance_scale": 3}
    plain, other = model.sample(**asked)[0], model.sample(**asked, guidance="apg")[0]
    assert plain.provenance.guidance == "cfg.v1"
    assert other.provenance.guidance == "apg.v1"
    assert not np.array_equal(values(plain), values(other))
    mine = model.sample(**asked, guidance=lambda denoiser: denoiser)[0]
    assert np.array_equal(values(mine), values(plain))
    assert "lambda" in mine.provenance.guided_by
    with pytest.raises(UsageError, match="needs more than a scale"):
        model.sample(**asked, guidance="steer")
    with pytest.raises(UsageError, match="has no option 'etta'"):
        model.with_sampling({"guidance": "apg", "guidance_options": {"etta": 1}}).sample(**asked)
