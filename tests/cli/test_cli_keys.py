"""`clearsight keys`: the secret is shown once, everything else can be listed, errors help."""

import json
import sqlite3
import subprocess
import sys

import pytest

from clearsight.cli import main as command_line
from clearsight.serve.access.keyed import open_access
from clearsight.serve.access.tokens import id_of


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CLEARSIGHT_STORE", str(tmp_path / "store"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clearsight", "keys", *arguments])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def ask(call):
    def run(*arguments, code=0):
        got, out, err = call(*arguments, "--json")
        assert got == code, err
        return json.loads(out)

    return run


def test_a_key_is_made_shown_once_and_opens_the_service(ask, tmp_path):
    made = ask("create", "--name", "shop", "--scopes", "recognize,metrics", "--tenant", "acme")
    assert id_of(made["key"]) == made["id"]
    assert (made["scopes"], made["tenant"]) == (["metrics", "recognize"], "acme")
    assert (made["rate"], made["quota"], made["expires"]) == (
        None,
        {"day": None, "month": None},
        None,
    )
    assert made["key"] not in json.dumps(ask("list", "--all"))
    access = open_access(tmp_path / "store")
    assert access.caller(made["key"], "").id == made["id"]
    access.close()


def test_limits_and_expiry(ask, call):
    made = ask(
        *("create", "--name", "shop", "--rate", "600/min", "--expires", "90d"),
        *("--quota", "1000/day", "--quota", "20000/month"),
    )
    assert (made["rate"], made["quota"]) == (10.0, {"day": 1000, "month": 20000})
    out = call("list")[1]
    assert "10 pictures/s, 1,000 a day, 20,000 a month" in out
    assert made["expires"] in out


def test_what_a_person_reads(call):
    code, out, err = call("create", "--name", "shop")
    assert (code, err) == (0, "")
    assert id_of(out.splitlines()[0]) is not None
    assert "only its hash" in out
    assert call("list")[1].splitlines()[1].split()[1:5] == ["shop", "-", "recognize", "active"]
    assert call("revoke", "shop")[1].startswith("revoked")
    assert call("list")[1] == "There are no keys.\n"
    assert "revoked" in call("list", "--all")[1]


def test_quiet_prints_only_the_key(call):
    out = call("create", "--name", "shop", "--quiet")[1]
    assert id_of(out.strip()) is not None
    successor = call("rotate", "shop", "--quiet")[1]
    assert id_of(successor.strip()) not in (None, id_of(out.strip()))


def test_rotation(ask):
    old = ask("create", "--name", "shop", "--rate", "5/s")
    new = ask("rotate", "shop", "--grace", "1h")
    assert new["account"] == old["id"]
    assert new["rate"] == 5.0
    states = {key["id"]: key["state"] for key in ask("list")["keys"]}
    assert states == {old["id"]: "grace", new["id"]: "active"}
    last = ask("rotate", "shop", "--grace", "0")
    states = {key["id"]: key["state"] for key in ask("list", "--all")["keys"]}
    assert states == {old["id"]: "grace", new["id"]: "revoked", last["id"]: "active"}


def test_revoking(ask):
    made = ask("create", "--name", "shop")
    assert ask("revoke", made["id"]) == {"revoked": [made["id"]]}
    error = ask("revoke", made["key"], code=2)["error"]
    assert error["type"] == "ConfigError"
    assert made["key"] not in json.dumps(error)


def test_used_pictures_are_listed(ask, tmp_path):
    made = ask("create", "--name", "shop")
    access = open_access(tmp_path / "store")
    access.charge(access.caller(made["key"], ""), 7)
    access.close()
    assert ask("list")["keys"][0]["used"] == {"day": 7, "month": 7}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--name", "a", "--scopes", "recognise"], "Did you mean 'recognize'"),
        (["create", "--name", "a", "--rate", "fast"], "10/s"),
        (["create", "--name", "a", "--quota", "5/year"], "1000/day"),
        (["create", "--name", "a", "--expires", "1999-01-01"], "past"),
        (["create", "--name", ""], "printable"),
        (["create"], "--name"),
        (["create", "--name", "a", "--tenat", "b"], "--tenant"),
        (["revoke", "nobody"], "No valid key"),
        (["rotate", "nobody"], "No valid key"),
        (["rotate", "nobody", "--grace", "soon"], "90s"),
        (["revok"], "revoke"),
        (["list", "nobody"], "nobody"),
    ],
)
def test_wrong_calls_are_refused_and_helped(call, arguments, words):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_the_audit_log(ask, call, tmp_path):
    made = ask("create", "--name", "shop")
    ask("revoke", "shop")
    told = ask("audit")
    assert [entry["action"] for entry in told["entries"]] == ["key.create", "key.revoke"]
    assert told["fault"] is None
    assert told["head"]["seq"] == 2
    assert made["key"][17:] not in json.dumps(told)
    assert call("audit", "--newest", "1")[1].count("key.") == 1
    with sqlite3.connect(tmp_path / "store" / "store.sqlite3") as connection:
        connection.execute("DROP TRIGGER clearsight_audit_unchanged")
        connection.execute("UPDATE clearsight_audit SET actor='user:eve' WHERE seq=1")
    connection.close()
    assert ask("audit", code=3)["fault"]["seq"] == 1
    code, _, err = call("audit")
    assert (code, "entry 1" in err) == (3, True)


def test_the_store_is_closed_to_others(call, tmp_path):
    call("create", "--name", "shop")
    folder = tmp_path / "store"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


@pytest.mark.parametrize("verb", ["create", "list", "rotate", "revoke", "audit"])
def test_every_verb_of_the_group_has_help(call, verb):
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert "--store" in out


def test_the_group_names_its_verbs(call):
    code, out, err = call()
    assert code == 2
    assert all(verb in out + err for verb in ("create", "list", "rotate", "revoke", "audit"))


def test_nothing_heavy_is_imported(tmp_path):
    program = (
        "import sys\nsys.argv = ['clearsight', 'keys', 'create', '--name', 'x']\n"
        "from clearsight.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'cv2', 'onnxruntime', 'torch', 'uvicorn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"CLEARSIGHT_STORE": str(tmp_path / "store"), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
