"""The command line end to end on tiny pictures: results, JSON, exit statuses, messages."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from testing.tiny_pictures import make_pictures

QUICK = [
    *("epochs=2", "batch_size=16", "views=1", "head=[16,8]", "members=1"),
    *("clusters=[3]", "cluster_epoch=0", "align_epoch=1"),
]
SET = [part for pair in QUICK for part in ("--set", pair)]


def fit(cli, pictures, out, *more):
    return cli("fit", "ucdir", pictures, "--out", out, "--backbone", "tiny", *SET, *more)


def test_the_whole_story(cli, pictures, tmp_path):
    run, index, out = tmp_path / "run", tmp_path / "i", tmp_path / "o.json"
    status, _, err = fit(cli, pictures, run, "--domains", "sketch,photo", "--json", out)
    assert status == 0, err
    assert json.loads(out.read_text())["settings"]["epochs"] == 2
    status, text, _ = cli("evaluate", run, "--json", out)
    assert status == 0
    value = json.loads(out.read_text())
    assert set(value["metrics"]) == {"map@all", *(f"p@{k}" for k in (1, 5, 15))}
    first = value["directions"][0]
    low, high = first["intervals"]["map@all"]["queries"]
    assert low <= first["metrics"]["map@all"] <= high
    assert (first["query"], first["gallery"]) == ("sketch", "photo")
    assert "sketch -> photo" in text
    status, text, _ = cli("compare", "tiny", run, "--json", out)
    assert status == 0
    assert json.loads(out.read_text())["others"][0]["metric"] == "map@all"
    status, text, err = cli("index", "build", pictures, "--domains", "photo", "--encoder", run, "--out", index)
    assert status == 0, err
    assert "48 images indexed" in text
    sketch = pictures / "sketch" / "circle" / "00.png"
    status, text, _ = cli("search", index, "--image", sketch, "--domain", "sketch", "--top", 3, "--json", "-")
    assert status == 0
    hits = json.loads(text)["hits"]
    assert len(hits) == 3
    assert {"id", "score", "path", "domain", "label"} < set(hits[0])
    assert cli("index", "info", index)[0] == 0
    status, text, _ = cli("index", "delete", index, hits[0]["id"])
    assert "1 deleted, 47 left" in text
    status, text, err = cli("report", run, "--out", tmp_path / "page.html")
    assert status == 0, err
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_embed_in_parts(cli, pictures, tmp_path):
    folder, out = tmp_path / "f", tmp_path / "joined.json"
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"x")
    for number, said in ((1, "1 of 2 parts are finished\n"), (2, f"'crosslens embed --join {folder}'")):
        status, text, _ = cli("embed", pictures, "--out", folder, "--backbone", "tiny", "--part", f"{number}/2")
        assert status == 0
        assert said in text
    status, _, err = cli("embed", pictures, "--out", folder, "--backbone", "tiny")
    assert (status, "is being made in parts" in err) == (1, True)
    status, text, err = cli("embed", "--join", folder, "--json", out)
    assert (status, "2 parts joined, 95 images, 1 skipped" in text) == (0, True)
    assert "00.png" in err
    assert json.loads(out.read_text())["images"] == 95
    assert cli("embed", "--join", folder)[0] == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--out", "f"),
        ("ROOT",),
        ("--join", "a", "--join", "b"),
        ("ROOT", "--out", "f", "--part", "3/2"),
        ("ROOT", "--out", "f", "--part", "1/2", "--join", "a"),
    ],
)
def test_embed_without_what_it_needs_is_wrong_usage(cli, pictures, options):
    assert cli("embed", *(pictures if word == "ROOT" else word for word in options))[0] == 2


def test_embed_reports_rates_and_skips(cli, pictures, tmp_path):
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"")
    out = tmp_path / "o.json"
    status, text, err = cli("embed", pictures, "--out", tmp_path / "f", "--backbone", "tiny", "--json", out)
    assert status == 0
    value = json.loads(out.read_text())
    assert value["embedded"] == 95
    assert value["skipped"][0]["id"] == "photo/circle/00.png"
    assert set(value["images_per_second"]) == {"total", "read", "decode", "augment", "infer", "write"}
    assert "00.png: " in err
    assert "embedded now\t95" in text
    status, _, err = fit(cli, pictures, tmp_path / "run", "--features", tmp_path / "f")
    assert status == 1
    assert "views" in err


def test_data_check_says_what_is_wrong_and_leaves_with_one(cli, pictures, tmp_path):
    status, text, _ = cli("data", "check", pictures, "--decode")
    assert status == 0
    assert "photo\t48\t4\t0" in text
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"no image")
    status, text, err = cli("data", "check", pictures, "--decode", "--json", tmp_path / "o.json")
    assert status == 1
    assert "00.png" in text + err
    assert json.loads((tmp_path / "o.json").read_text())["ok"] is False


def test_data_list_and_benchmarks(cli, pictures, tmp_path):
    assert cli("data", "list", pictures, "--out", tmp_path / "m.csv")[0] == 0
    status, text, _ = cli("evaluate", "tiny", tmp_path / "m.csv")
    assert status == 0
    status, text, _ = cli("data", "benchmarks")
    assert "office-home" in text
    assert "domainnet" in text


class TestExitStatus:
    def test_zero_for_help_which_teaches(self, cli):
        for command in ([], ["fit"], ["embed"], ["evaluate"], ["search"], ["index", "build"], ["data", "check"]):
            status, text, _ = cli(*command, "--help")
            assert status == 0
            if command and command[0] not in ("index", "data"):
                assert "Example:" in text
        assert cli("--version")[1].strip()

    def test_two_for_wrong_usage(self, cli, pictures, tmp_path):
        assert cli("fit")[0] == 2
        assert cli("nothing")[0] == 2
        assert cli("search", tmp_path, "--top", 0)[0] == 2
        status, _, err = fit(cli, pictures, tmp_path / "r", "--set", "epoch=3")
        assert status == 2
        assert "ucdir has no setting 'epoch'; it has epochs" in err
        assert fit(cli, pictures, tmp_path / "r", "--set", "nonsense")[0] == 2
        assert cli("evaluate", "tiny")[0] == 2
        assert cli("evaluate", "tiny", pictures, "--k", "0,1")[0] == 2
        assert cli("fit", "magic", pictures, "--out", tmp_path / "r")[0] == 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["evaluate", "tiny", "NOWHERE"], "does not exist"),
            (["evaluate", "NOWHERE", "PICTURES"], "no run, no encoder folder and no backbone"),
            (["search", "NOWHERE", "--image", "x.png"], "holds no index"),
            (["index", "build", "EMPTY", "--out", "OUT"], "no image below"),
            (["fit", "uem", "ONE", "--out", "OUT", "--backbone", "tiny"], "at least 2 domains"),
            (["report", "NOWHERE"], "no run folder"),
            (["embed", "PICTURES", "--out", "OUT", "--backbone", "moco-v2:/none.pth"], "none.pth"),
        ],
    )
    def test_one_for_a_failure_with_one_message(self, cli, pictures, tmp_path, arguments, message):
        (tmp_path / "empty").mkdir()
        make_pictures(tmp_path / "one", 2, looks=("photo",))
        places = {
            "NOWHERE": tmp_path / "nowhere",
            "PICTURES": pictures,
            "EMPTY": tmp_path / "empty",
            "ONE": tmp_path / "one",
            "OUT": tmp_path / "out",
        }
        status, _, err = cli(*[places.get(a, a) for a in arguments])
        assert status == 1, err
        assert err.startswith("error: ")
        assert message in err
        assert "Traceback" not in err

    def test_a_full_disk_is_one_message(self, cli, pictures, tmp_path, monkeypatch):
        import crosslens.features.store as store

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store, "save_file", full)
        status, _, err = cli("embed", pictures, "--out", tmp_path / "f", "--backbone", "tiny")
        assert status == 1
        assert "No space left on device" in err

    def test_an_interrupt_is_130(self, cli, pictures, tmp_path, monkeypatch):
        def stop(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("crosslens.api.embedding.embed_catalog", stop)
        status, _, err = cli("embed", pictures, "--out", tmp_path / "f", "--backbone", "tiny")
        assert status == 130
        assert "Run the same command again" in err

    def test_quiet_is_quiet(self, cli, pictures, tmp_path):
        status, text, err = cli("embed", pictures, "--out", tmp_path / "f", "--backbone", "tiny", "--quiet")
        assert (status, text, err) == (0, "", "")


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from testing.tiny_backbone import register_tiny
register_tiny()
sys.argv = ["crosslens", *{arguments!r}]
from crosslens.cli import main
main()
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("command", ["embed", "fit"])
def test_real_processes_struck_down_go_on_later(cli, tmp_path, command, blow):
    pictures = make_pictures(tmp_path / "p", count=60)
    out = tmp_path / "out"
    if command == "embed":
        arguments = ["embed", str(pictures), "--out", str(out), "--backbone", "tiny", "--shard-size", "40"]
        sign = out / "shards" / "000000.json"
    else:
        long = [part if part != "epochs=2" else "epochs=60" for part in SET]
        arguments = ["fit", "ucdir", str(pictures), "--out", str(out), "--backbone", "tiny", *long]
        sign = out / "log.jsonl"
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = KILLED.format(tests=tests, arguments=arguments)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not sign.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(blow)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err.decode()
    if process.returncode != 0:
        assert process.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    again = arguments if command == "embed" else [*arguments, "--resume"]
    status, _, err = cli(*again)
    assert status == 0, err
    if command == "embed":
        from crosslens.features.store import FeatureStore

        assert len(FeatureStore.open(out)) == 480
    else:
        assert (out / "encoder" / "config.json").is_file()


def test_import_is_light():
    code = "import sys, crosslens; heavy = {'torch', 'pyarrow', 'faiss', 'onnxruntime', 'transformers', 'PIL'};"
    code += "print(sorted(heavy & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_help_does_not_import_torch():
    code = "import sys; sys.argv = ['crosslens', '--help']\nfrom crosslens.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules, file=sys.stderr)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stderr.strip().endswith("False")
