"""The pages of a perceptual study, what they save, and the table that is made of it."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from pix2pix_lightning import compose
from pix2pix_lightning.data.procedural import ProceduralPairs
from pix2pix_lightning.report.__main__ import main, report
from pix2pix_lightning.report.perceptual_study.answers import read_answers
from pix2pix_lightning.utils.errors import UserError

STUDY = "0123456789abcdef"
PAIRS = [f"test_{index:05d}" for index in range(7)]
SHIFT = 3  # of the real pictures with same_input=false: half of the pairs


def make_evaluation(folder, *, pairs=PAIRS, size=32, blur=2.0):
    """An evaluation as evaluate writes it: drawn photos, and the same ones blurred."""
    (folder / "images").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"checkpoint": "best.ckpt", "split": "test", "metrics": {}}))
    drawn = ProceduralPairs(len(pairs), size=size, split="test")
    for index, name in enumerate(pairs):
        photo = cv2.cvtColor(drawn[index][0], cv2.COLOR_RGB2BGR)
        (folder / "images" / name).mkdir()
        cv2.imwrite(str(folder / "images" / name / "target.png"), photo)
        cv2.imwrite(str(folder / "images" / name / "output.png"), cv2.GaussianBlur(photo, (0, 0), blur))
    return folder


def make_run(folder, *splits, **options):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    for split in splits:
        make_evaluation(folder / f"evaluation/{split}_deterministic", **options)
    return folder


def write(folder, *words):
    """The facts of a study, as its file has them."""
    report(compose("report", ["kind=perceptual_study", "practice=2", "trials=4", f"output={folder}", *words]))
    return json.loads((folder / "study.json").read_text())


def make_answers(file, labelled, *, session=0, algorithm="l1", practice=(True, True), **changes):
    """The file of a rater, of which each answer says whether the generated picture was labelled real."""
    rows = []
    for number, fooled in enumerate([*practice, *labelled], start=1):
        real = ("left", "right")[number % 3 % 2]
        called = real if fooled else {"left": "right", "right": "left"}[real]
        names = {"generated_pair": f"pair {number}", "real_pair": f"pair {number}"}
        times = {"reaction_ms": 700.5, "shown_ms": [1000, 1001.5]}
        is_practice = number <= len(practice)
        rows.append(
            {"trial": number, "practice": is_practice, **names, "real": real, "called_generated": called, **times}
        )
    content = {
        "format": "pix2pix_lightning perceptual study 1",
        "session": f"{session:032x}",
        "study": STUDY,
        "algorithm": algorithm,
        "seed": 5,
        "same_input": True,
        "practice": len(practice),
        "trials": len(labelled),
        "started": "2026-01-01T00:00:00.000Z",
        "answers": rows,
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**content, **changes}))
    return file


def refuse(capsys, *words):
    """The one line with which the command refuses."""
    assert main(["kind=perceptual_study", *map(str, words)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


# ---- the pages ---------------------------------------------------------------------------------------------------


def test_each_algorithm_has_a_page_with_copies_that_do_not_tell_what_they_are(tmp_path):
    runs = [make_run(tmp_path / "sweep" / name, "test", blur=blur) for name, blur in (("l1", 3.0), ("cgan", 1.0))]
    facts = write(tmp_path / "study", f"runs={tmp_path / 'sweep'}", "split=test")
    assert [page["algorithm"] for page in facts["pages"]] == ["cgan", "l1"]
    for page, run in zip(facts["pages"], reversed(runs), strict=True):
        home = tmp_path / "study" / page["page"]
        assert [name for name, _, _ in page["pairs"]] == PAIRS
        files = [file for _, *pair in page["pairs"] for file in pair]
        assert sorted(files) == sorted(f"pictures/{path.name}" for path in home.glob("pictures/*"))
        assert all(re.fullmatch(r"pictures/[0-9a-f]{16}\.png", file) for file in files)
        for name, *copies in page["pairs"]:
            for copy, original in zip(copies, ("target.png", "output.png"), strict=True):
                expected = cv2.imread(str(run / "evaluation/test_deterministic/images" / name / original))
                np.testing.assert_array_equal(cv2.imread(str(home / copy)), expected)
        assert len(set(files)) == 14
        text = (home / "index.html").read_text()
        for secret in (*files, *PAIRS, page["algorithm"], "deterministic", "output.png", "target.png"):
            assert not re.search(rf"\b{re.escape(secret)}\b", text)
        content = json.loads(base64.b64decode(re.search(r'data-study="([^"]+)"', text)[1]))
        assert content["pairs"] == page["pairs"]
        assert (content["practice"], content["trials"], content["same_input"]) == (2, 4, True)


def test_larger_pictures_are_reduced_alike_and_different_ones_are_refused(tmp_path, capsys):
    evaluation = make_evaluation(tmp_path / "mine", size=320)
    facts = write(tmp_path / "study", f"runs={evaluation}")
    (page,) = facts["pages"]
    name, *copies = page["pairs"][0]
    for copy, original in zip(copies, ("target.png", "output.png"), strict=True):
        image = cv2.imread(str(tmp_path / "study" / page["page"] / copy)).astype(int)
        expected = cv2.resize(cv2.imread(str(evaluation / "images" / name / original)), (256, 256), cv2.INTER_AREA)
        assert image.shape == (256, 256, 3)
        assert np.abs(image - expected).mean() < 4
    output = evaluation / "images" / PAIRS[3] / "output.png"
    cv2.imwrite(str(output), np.zeros((256, 300, 3), np.uint8))
    line = refuse(capsys, f"runs={evaluation}", "practice=2", "trials=4", f"output={tmp_path / 'other'}")
    assert str(output) in line
    assert "300 x 256" in line
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_shown_is_refused_in_a_line(tmp_path, capsys):
    run = make_run(tmp_path / "run", "val", "test")
    small = ["practice=2", "trials=4", f"output={tmp_path / 'study'}"]
    assert "has several evaluations, test_deterministic, val_deterministic: set split=" in refuse(
        capsys, f"runs={run}", *small
    )
    assert f"checkpoint={tmp_path / 'bare'} split=test" in refuse(
        capsys, f"runs={make_run(tmp_path / 'bare')}", "split=test", *small
    )
    line = refuse(capsys, f"runs={run}", "split=val", f"output={tmp_path / 'study'}", "practice=2", "trials=6")
    assert "has 7 pairs, and a session shows practice=2 + trials=6" in line
    other = make_evaluation(tmp_path / "other", pairs=[*PAIRS[:-1], "test_9"])
    assert "test_00006" in refuse(capsys, f"runs=[{run}/evaluation/val_deterministic,{other}]", *small)
    (run / "evaluation/val_deterministic/images" / PAIRS[0] / "target.png").unlink()
    assert "has no target.png" in refuse(capsys, f"runs={run}", "split=val", *small)
    assert "output= is missing" in refuse(capsys, f"runs={run}", "split=test")
    assert not (tmp_path / "study").exists()


# ---- the table ---------------------------------------------------------------------------------------------------


def bootstrap_by_indices(labelled, samples, seed):
    """Shares by raters drawn with replacement and trials of each drawn with replacement, one sample at a time."""
    generator = np.random.default_rng(seed)
    raters, trials = labelled.shape
    shares = []
    for _ in range(samples):
        rows = generator.integers(raters, size=raters)
        columns = generator.integers(trials, size=(raters, trials))
        shares.append(labelled[rows[:, None], columns].mean())
    return np.array(shares)


def test_the_table_is_that_of_an_independent_bootstrap(tmp_path, capsys):
    generator = np.random.default_rng(3)
    tables = {}
    for algorithm, raters in (("l1", 12), ("l1_cgan", 9)):
        skill = generator.uniform(0.05, 0.6, (raters, 1))
        tables[algorithm] = generator.uniform(size=(raters, 40)) < skill
        for number, row in enumerate(tables[algorithm]):
            practice = (True,) * 10  # all wrong, so that a practice that counted would be seen
            session = number + 100 * raters
            file = tmp_path / "answers" / f"{algorithm}_{number}.json"
            make_answers(file, row.tolist(), session=session, algorithm=algorithm, practice=practice)
    copy = tmp_path / "answers/l1_0 (1).json"
    copy.write_bytes((tmp_path / "answers/l1_0.json").read_bytes())
    words = ["kind=perceptual_study", f"answers={tmp_path / 'answers'}", f"output={tmp_path / 'table'}"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "counted once" in printed.err
    content = json.loads((tmp_path / "table/figures.json").read_text())
    assert [figure["algorithm"] for figure in content["figures"]] == ["l1", "l1_cgan"]
    for figure in content["figures"]:
        labelled = tables[figure["algorithm"]]
        raters, trials = labelled.shape
        assert (figure["num_raters"], figure["num_trials"]) == (raters, labelled.size)
        assert figure["share"] == pytest.approx(labelled.mean(), abs=1e-12)
        share = labelled.mean(1)  # the variance of the two draws in closed form
        error = np.sqrt((share.var() + (share * (1 - share)).mean() / trials) / raters)
        assert figure["error"] == pytest.approx(error, rel=0.03)
        shares = bootstrap_by_indices(labelled, 4000, 1)
        assert (figure["low"], figure["high"]) == pytest.approx(np.percentile(shares, [2.5, 97.5]), abs=0.01)
        row = f"| {100 * labelled.mean():.1f} ± {100 * figure['error']:.1f} |"
        for text in (printed.out, (tmp_path / "table/report.md").read_text()):
            assert row in text
    assert f"{100 * tables['l1'].mean():.1f} ± " in (tmp_path / "table/index.html").read_text()
    assert main(words) == 1  # it exists
    assert main([*words, "overwrite=true"]) == 0


def test_a_file_counts_once_and_one_rater_is_said(tmp_path, capsys):
    file = make_answers(tmp_path / "answers/a.json", [True, False, False, False, False])
    assert main(["kind=perceptual_study", f"answers=[{file},{file.parent}]", f"output={tmp_path / 'table'}"]) == 0
    assert "| l1 | 20.0 ± 17.9 | 0.0 to 60.0 | 1 | 5 |" in capsys.readouterr().out  # sqrt(0.2 x 0.8 / 5) = 0.179
    assert "one rater alone" in (tmp_path / "table/report.md").read_text()


WRONG_ROWS = {
    "trial": 9,
    "practice": False,
    "generated_pair": None,
    "real": "up",
    "called_generated": ["left"],
    "reaction_ms": float("nan"),
}
WRONG = {
    "format": "something else",
    "session": "12",
    "study": None,
    "algorithm": 3,
    "seed": -1,
    "practice": 3,
    "trials": 0,
    "answers": [None],
}


@pytest.mark.parametrize("key", [*WRONG, *(f"answer: {key}" for key in WRONG_ROWS), "cut", "no object", "fewer"])
def test_a_wrong_or_cut_file_is_refused_by_a_line_with_its_name(tmp_path, key):
    make_answers(tmp_path / "answers/good.json", [True, False], session=1)
    file = make_answers(tmp_path / "answers/wrong.json", [True, False], session=2)
    content = json.loads(file.read_text())
    if key == "fewer":
        content["answers"].pop()
    elif key in WRONG:
        content[key] = WRONG[key]
    elif key.startswith("answer: "):
        name = key.removeprefix("answer: ")
        content["answers"][1][name] = WRONG_ROWS[name]
    text = json.dumps([content] if key == "no object" else content)
    file.write_text(text[:-20] if key == "cut" else text)
    with pytest.raises(UserError) as error:
        read_answers([file.parent])
    assert str(error.value).startswith(f"{file} is no whole file of answers (")
    assert "\n" not in str(error.value)


def test_other_answers_of_a_session_and_other_studies_are_refused(tmp_path, capsys):
    words = [f"answers={tmp_path / 'answers'}", f"output={tmp_path / 'table'}"]
    make_answers(tmp_path / "answers/a.json", [True, False])
    other = make_answers(tmp_path / "answers/b.json", [True, True])
    assert f"{other} is no whole file of answers (its session is that of" in refuse(capsys, *words)
    make_answers(other, [True, True], session=1, study="f" * 16)
    assert f"{other} is of another study" in refuse(capsys, *words)
    assert not (tmp_path / "table").exists()
    other.unlink()
    (tmp_path / "answers/a.json").unlink()
    assert "holds no .json file" in refuse(capsys, *words)


def test_a_study_holds_no_answers(tmp_path, capsys):
    write(tmp_path / "study", f"runs={make_evaluation(tmp_path / 'mine')}")
    make_answers(tmp_path / "study/a.json", [True, False])
    for path in (tmp_path / "study", tmp_path / "study/study.json"):
        assert f"answers={path} " in refuse(capsys, f"answers={path}", f"output={tmp_path / 'table'}")


def test_keys_without_effect_are_refused(tmp_path, capsys):
    make_answers(tmp_path / "answers/a.json", [True, False])
    answers = [f"answers={tmp_path / 'answers'}", f"output={tmp_path / 'table'}"]
    assert "split=val has no effect with answers=" in refuse(capsys, *answers, "split=val")
    assert "trials=3 has no effect" in refuse(capsys, *answers, "trials=3")
    assert "leave one of them out" in refuse(capsys, *answers, "runs=sweep")
    assert "same_input=maybe has another type" in refuse(capsys, "runs=a", "same_input=maybe", "output=b")
    assert main(["runs=sweep", "practice=3"]) == 1
    assert "practice=3 has no effect with kind=comparison" in capsys.readouterr().err
    assert main(["runs=sweep", "kind=amt"]) == 1
    assert "kind='amt' is unknown" in capsys.readouterr().err


# ---- a session in a browser --------------------------------------------------------------------------------------

FASTER = """
  const wait = window.setTimeout;
  window.delays = [];
  window.setTimeout = (work, time) => { window.delays.push(time); return wait(work, time / (time > 2000 ? 4 : 40)); };
"""


def draw_trials(seed, same_input, total):
    """Pair of the generated picture, pair of the real one and side of the real one, by mulberry32."""

    def draw():
        nonlocal seed
        seed = (seed + 0x6D2B79F5) % 2**32
        x = (seed ^ seed >> 15) * (seed | 1) % 2**32
        x ^= (x + (x ^ x >> 7) * (x | 61)) % 2**32
        return ((x ^ x >> 14) % 2**32) / 2**32

    order = list(PAIRS)
    for last in range(len(order) - 1, 0, -1):
        other = int(draw() * (last + 1))
        order[last], order[other] = order[other], order[last]
    shift = 0 if same_input else SHIFT
    return [(order[i], order[(i + shift) % len(PAIRS)], ("left", "right")[int(draw() * 2)]) for i in range(total)]


@pytest.mark.parametrize("same_input", [True, False])
def test_a_session_with_keys_and_mouse(browser, tmp_path, capsys, same_input):
    make_evaluation(tmp_path / "mine")
    facts = write(tmp_path / "study", f"runs={tmp_path / 'mine'}", f"same_input={str(same_input).lower()}")
    (page,) = facts["pages"]
    reals = {file for _, file, _ in page["pairs"]}
    pairs = {file: name for name, *files in page["pairs"] for file in files}
    allow = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.web.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    faster = browser.web.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FASTER})
    browser.open(tmp_path / "study" / page["page"] / "index.html")
    browser.web.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", faster)
    browser.one(".seed").send_keys("12345")
    browser.one(".start").click()
    seen = []
    for number in range(1, 7):
        if number == 3:
            browser.until(browser.one(".pause").is_displayed)
            browser.one(".continue").click()
        buttons = browser.all(".answer")
        browser.until(lambda: all(button.is_enabled() for button in buttons))  # noqa: B023
        images = browser.all(".box img")
        assert not any(image.is_displayed() for image in images)
        files = ["/".join(image.get_attribute("src").split("/")[-2:]) for image in images]
        place = next(index for index, file in enumerate(files) if file in reals)
        seen.append((pairs[files[1 - place]], pairs[files[place]], ("left", "right")[place]))
        called = number % 2 ^ place  # the real one at even numbers
        if number > 3:
            buttons[called].click()
        else:
            browser.press("\ue014" if called else "\ue012")
        if number <= 2:  # told in the practice, and not after it
            browser.until(lambda: browser.one(".feedback").text)
            assert [label.text for label in browser.all(".label")] == [
                ("generated", "real")[i == place] for i in (0, 1)
            ]
            assert ("right" in browser.one(".feedback").text) is bool(number % 2)
        else:
            assert browser.one(".feedback").text == ""
    assert seen == draw_trials(12345, same_input, 6)
    browser.until(browser.one(".end").is_displayed)
    assert browser.run("return window.delays") == [
        t for n in range(6) for t in (900, 992, 600, 992, 100, 2400)[: 5 + (n < 2)]
    ]
    browser.one(".save").click()
    browser.until(lambda: list(tmp_path.glob("answers_*.json")))
    (file,) = tmp_path.glob("answers_*.json")
    content = json.loads(file.read_text())
    rows = content["answers"]
    assert [(row["generated_pair"], row["real_pair"], row["real"]) for row in rows] == seen
    assert (content["seed"], content["algorithm"], content["study"]) == (12345, "mine", facts["study"])
    assert browser.complaints() == []
    assert {address.partition(":")[0] for address in browser.addresses()} <= {"file", "blob"}
    assert main(["kind=perceptual_study", f"answers={file}", f"output={tmp_path / 'table'}"]) == 0
    assert "| mine | 50.0 ±" in capsys.readouterr().out
