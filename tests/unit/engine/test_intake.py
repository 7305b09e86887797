"""Certificates that come in: who takes them, and that one service's bad file is not the others' trouble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollover.core.errors import CertificateError, ConfigError, PermissionsError
from rollover.engine import intake
from rollover.engine.intake import read_material, scan_sources, stage
from tests.unit.engine.hosts import StillClock, adopted, hand_over, host, lineage

NOT_BASE64 = "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n"


def loop(directory: Path) -> Path:
    """Make a symbolic link to itself."""
    link = directory / "loop"
    link.symlink_to(link)
    return link


@pytest.mark.parametrize("content", [NOT_BASE64, "nothing", None], ids=["not base64", "no PEM", "absent"])
def test_a_trust_file_that_cannot_be_used_is_a_mistake_of_the_configuration(
    tmp_path: Path, content: str | None
) -> None:
    """It is 78, and names the key and the file."""
    trust = tmp_path / "ca.pem"
    if content is not None:
        trust.write_text(content)
    it = host(tmp_path, mail=f'trust = "{trust}"')
    with pytest.raises(ConfigError) as caught:
        hand_over(it, lineage(tmp_path / "new"))
    assert caught.value.exit_code == 78
    assert "services.mail" in caught.value.message and "trust" in caught.value.message
    assert str(trust) in caught.value.message
    assert caught.value.hint


def hurt_trust(directory: Path) -> str:
    (directory / "ca.pem").write_text(NOT_BASE64)
    return f'trust = "{directory}/ca.pem"\nsource = "{directory}/one"'


def hurt_source(directory: Path) -> str:
    return f'trust = "none"\nsource = "{loop(directory)}"'


@pytest.mark.parametrize("hurt", [hurt_trust, hurt_source])
def test_a_bad_file_of_one_service_is_told_and_does_not_stop_the_others(
    tmp_path: Path, hurt: Callable[[Path], str]
) -> None:
    """The next service's source is looked at all the same; the first one's fault is told once."""
    good = lineage(tmp_path / "two")
    it = host(tmp_path, one='trust = "none"', two=f'trust = "none"\nsource = "{good}"')
    for name in ("one", "two"):
        adopted(it, name, lineage(tmp_path / "first", label="first"))
    lineage(tmp_path / "one", label="one")
    it.store.close()
    it = host(tmp_path, one=hurt(tmp_path), two=f'trust = "none"\nsource = "{good}"')

    assert scan_sources(it) == ["two"]
    rejected = it.store.rejection("one")
    assert rejected is not None and "services.one" in rejected[1]
    assert it.store.rejection("two") is None
    assert scan_sources(it) == []
    assert [e.kind for e in it.store.events("one")].count("rejected") == 1

    it.store.close()
    it = host(tmp_path, one=f'trust = "none"\nsource = "{tmp_path}/one"', two='trust = "none"')
    assert scan_sources(it) == ["one"]
    assert it.store.rejection("one") is None


def test_an_unforeseen_fault_of_one_source_is_not_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody thought of is told of its service, without its text, which may quote a key."""
    sources = {name: lineage(tmp_path / name, label=name) for name in ("one", "two")}
    it = host(tmp_path, **{name: f'trust = "none"\nsource = "{sources[name]}"' for name in sources})
    for name in sources:
        adopted(it, name, lineage(tmp_path / "first", label="first"))
    real = intake.stage

    def odd(*words: object, service: str, **more: object) -> object:
        if service == "one":
            raise RuntimeError("BEGIN PRIVATE KEY")
        return real(*words, service=service, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "stage", odd)
    assert scan_sources(it) == ["two"]
    rejected = it.store.rejection("one")
    assert rejected is not None and "RuntimeError" in rejected[1] and "PRIVATE" not in rejected[1]


def test_a_scan_reads_nothing_that_did_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities of the files are compared at each tick; a renewal, and a service adopted anew, are read."""
    source = lineage(tmp_path / "lineage")
    it = host(tmp_path, mail=f'trust = "none"\nsource = "{source}"')
    adopted(it, "mail", source)
    read: list[Path] = []
    real = intake.leaf_fingerprint
    monkeypatch.setattr(intake, "leaf_fingerprint", lambda path: (read.append(path), real(path))[1])

    assert scan_sources(it) == [] and len(read) == 1
    assert scan_sources(it) == [] and len(read) == 1
    lineage(source, label="b")
    assert scan_sources(it) == ["mail"] and len(read) == 2
    assert scan_sources(it) == [] and len(read) == 2
    it.store.forget_service("mail")
    adopted(it, "mail", lineage(tmp_path / "other", label="c"))
    assert scan_sources(it) == ["mail"] and len(read) == 3


def test_the_key_tells_services_at_one_owner_apart(tmp_path: Path) -> None:
    """An RSA and an ECDSA service on one host each take their own renewal, and neither takes the other's."""
    it = host(tmp_path, first='trust = "none"', second='trust = "none"')
    adopted(it, "first", lineage(tmp_path / "1", algorithm="rsa", label="old"))
    assert hand_over(it, lineage(tmp_path / "2", label="new")) == ("second",), "not yet adopted, and the other is RSA's"
    adopted(it, "second", lineage(tmp_path / "3", label="old"))

    assert hand_over(it, lineage(tmp_path / "4", algorithm="rsa", label="new")) == ("first",)
    assert hand_over(it, lineage(tmp_path / "5", label="newer")) == ("second",)
    nobody = lineage(tmp_path / "6", algorithm="ed25519")
    told = stage(it, read_material(nobody / "fullchain.pem", nobody / "privkey.pem"))
    assert told.services == () and "ed25519" in told.reason


def test_a_service_alone_on_its_host_may_change_its_key_type(tmp_path: Path) -> None:
    """Where nothing has to be told apart a certificate of another key type is taken."""
    it = host(tmp_path, mail='trust = "none"')
    adopted(it, "mail", lineage(tmp_path / "1", algorithm="rsa"))
    assert hand_over(it, lineage(tmp_path / "2")) == ("mail",)


def test_one_service_that_refuses_a_certificate_does_not_keep_it_from_the_next(tmp_path: Path) -> None:
    """Each service that wants a certificate and can serve it gets it; the refusal is told after that."""
    new = lineage(tmp_path / "new")
    it = host(
        tmp_path,
        mail='trust = "none"',
        more=f'hosts = ["more.example.org"]\ntrust = "none"\nsource = "{new}"',
    )
    with pytest.raises(CertificateError, match=r"not for more\.example\.org"):
        hand_over(it, new)
    assert len(it.store.inbox("mail")) == 1
    assert it.store.inbox("more") == []


def test_what_was_handed_over_last_is_last_whatever_the_clock_said(tmp_path: Path) -> None:
    """A clock that was ahead and was set right between two hooks does not make the first one the newer."""
    it = host(tmp_path, mail='trust = "none"')
    clock = it.clock
    assert isinstance(clock, StillClock)
    hand_over(it, lineage(tmp_path / "1", label="first"))
    (first,) = it.store.inbox("mail")
    clock.time = clock.time.plus(-8)
    hand_over(it, lineage(tmp_path / "2", label="second"))
    assert [first] == it.store.inbox("mail")[:-1]


def test_a_lineage_that_nobody_wants_is_not_judged(tmp_path: Path) -> None:
    """A hook is called for a web server's lineage too; a key that others can read is refused only where it is wanted."""
    it = host(tmp_path, mail='trust = "none"')
    web, mail = lineage(tmp_path / "web", names=("www.example.org",)), lineage(tmp_path / "mail")
    for directory in (web, mail):
        (directory / "privkey.pem").chmod(0o644)
    assert hand_over(it, web) == ()
    with pytest.raises(PermissionsError) as caught:
        hand_over(it, mail)
    assert caught.value.exit_code == 77
    assert f"chmod o= {mail}/privkey.pem" in caught.value.hint
