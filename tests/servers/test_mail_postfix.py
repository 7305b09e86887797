"""One real Postfix: what it is configured with, pointing it at our file and back, reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollover.core.errors import EX_CONFIG, CertificateError, RolloverError
from rollover.core.sighting import Endpoint, Outcome
from rollover.mail import mastercf
from rollover.mail import postfix as postfix_module
from rollover.mail.errors import MailConfigError, MailServerDown
from rollover.mail.postfix import Postfix
from rollover.mail.probe import probe
from rollover.mail.target import PostfixTarget
from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.certificates import Certificate
from tests.lab.process import run

pytestmark = pytest.mark.lab(ttl=5, senders=False)
CHAIN = "/etc/rollover/live/mail.pem"


@pytest.fixture
def postfix(lab: Lab) -> Postfix:
    return Postfix(lab.mx.config_directory)


def append(lab: Lab, file: str, text: str) -> None:
    """Edit main.cf or master.cf as an administrator with an editor does."""
    path = lab.mx.config_directory / file
    path.write_text(path.read_text() + text)
    lab.mx._age_main_cf()


def override(lab: Lab, service: str, *parameters: str) -> None:
    """Give a service of master.cf -o options."""
    run(["postconf", "-c", lab.mx.config_directory, "-P", *(f"{service}/{p}" for p in parameters)])


def main_cf(lab: Lab) -> str:
    return (lab.mx.config_directory / "main.cf").read_text()


def refusal(call: Callable[[], object]) -> RolloverError:
    with pytest.raises(RolloverError) as caught:
        call()
    assert caught.value.hint
    return caught.value


def use(lab: Lab, *certificates: Certificate, name: str = "both.pem") -> Path:
    """Write a chain file with *certificates* and have main.cf name it alone."""
    path = lab.directory / name
    path.touch(mode=0o600)
    path.write_text("".join(c.privkey.read_text() + c.fullchain.read_text() for c in certificates))
    lab.mx.postconf(f"smtpd_tls_chain_files={path}", "smtpd_tls_cert_file=", "smtpd_tls_key_file=")
    return path


# --- wiring ---------------------------------------------------------------------------------------


def test_wiring_names_the_legacy_files(lab: Lab, postfix: Postfix) -> None:
    """Before adoption the line says which service is configured with what."""
    line = postfix.wiring(CHAIN)

    assert "smtp/inet" in line
    assert f"{lab.directory}/mx/tls/cert.pem" in line and CHAIN in line


def test_wiring_is_empty_when_every_service_reads_the_file(lab: Lab, postfix: Postfix) -> None:
    """The file may be named through a macro, over several lines, and by another spelling of the path."""
    run(["postconf", "-c", lab.mx.config_directory, "-X", "smtpd_tls_cert_file", "smtpd_tls_key_file"])
    append(lab, "main.cf", "live = /etc/rollover\nsmtpd_tls_chain_files =\n  # ours\n  $live/live//mail.pem\n")

    assert postfix.wiring(CHAIN) == ""
    assert "/etc/rollover/live/other.pem" in postfix.wiring("/etc/rollover/live/other.pem")


@pytest.mark.fault(54)
def test_wiring_sees_overrides_in_master_cf(lab: Lab, postfix: Postfix) -> None:
    """One service with a file of its own is named; it does not matter where its port is not ours."""
    lab.mx.postconf(f"smtpd_tls_chain_files={CHAIN}")
    override(lab, "587/inet", "smtpd_tls_chain_files=/etc/other.pem")

    assert "587/inet is configured with /etc/other.pem" in postfix.wiring(CHAIN)
    assert postfix.wiring(CHAIN, ports=[25, 465]) == ""
    assert "587/inet" in postfix.wiring(CHAIN, ports=[25, 587])


def test_wiring_leaves_out_services_without_tls(lab: Lab, postfix: Postfix) -> None:
    """A re-injection port with TLS switched off may be configured with anything."""
    lab.mx.postconf(f"smtpd_tls_chain_files={CHAIN}")
    override(lab, "587/inet", "smtpd_tls_chain_files=/etc/other.pem", "smtpd_tls_security_level=none")

    assert postfix.wiring(CHAIN) == ""

    lab.mx.postconf("smtpd_tls_security_level=none")
    assert "no smtpd service on port 25 has TLS enabled" in postfix.wiring(CHAIN, ports=[25])


@pytest.mark.fault(56)
def test_wiring_counts_tlsproxy_and_smtpd_behind_postscreen(lab: Lab, postfix: Postfix) -> None:
    """Services without a port of their own count for every port; tlsproxy has parameters of its own."""
    lab.mx.postconf(f"smtpd_tls_chain_files={CHAIN}")
    append(lab, "master.cf", "smtpd pass - - n - - smtpd\ntlsproxy unix - - n - 0 tlsproxy\n")
    assert postfix.wiring(CHAIN, ports=[25]) == ""

    override(lab, "smtpd/pass", "smtpd_tls_chain_files=/etc/pass.pem")
    assert "smtpd/pass is configured with /etc/pass.pem" in postfix.wiring(CHAIN, ports=[25])

    override(lab, "smtpd/pass", f"smtpd_tls_chain_files={CHAIN}")
    lab.mx.postconf("tlsproxy_tls_chain_files=/etc/proxy.pem")
    assert "tlsproxy/unix is configured with /etc/proxy.pem" in postfix.wiring(CHAIN, ports=[25])


def test_wiring_takes_two_files_that_are_both_ours(lab: Lab, postfix: Postfix) -> None:
    """RSA beside ECDSA: both files must be named, and nothing else."""
    lab.mx.postconf(f"smtpd_tls_chain_files=/etc/rollover/live/rsa.pem, {CHAIN}")

    assert "rsa.pem" in postfix.wiring(CHAIN)
    assert postfix.wiring(CHAIN, beside=["/etc/rollover/live/rsa.pem"]) == ""


@pytest.mark.fault(55)
def test_wiring_refuses_an_sni_table(lab: Lab, postfix: Postfix) -> None:
    """A table of certificates by name holds copies that no file of ours replaces: it is named."""
    lab.mx.postconf(f"smtpd_tls_chain_files={CHAIN}", "tls_server_sni_maps=hash:/etc/postfix/sni")

    assert "tls_server_sni_maps is set (hash:/etc/postfix/sni)" in postfix.wiring(CHAIN)
    assert "tls_server_sni_maps" in postfix.check(CHAIN)[0].hint
    assert "tls_server_sni_maps" in refusal(postfix.current_chain).message


def test_wiring_asks_again_only_after_a_change(lab: Lab, postfix: Postfix, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty services of one instance cost one reading; an edit of either file is seen at once."""
    calls: list[tuple[str, ...]] = []
    real = mastercf.postconf

    def counted(*arguments: str) -> str:
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(mastercf, "postconf", counted)
    for _ in range(50):
        assert postfix.wiring(CHAIN) != ""
    assert len(calls) == 3

    lab.mx.postconf(f"smtpd_tls_chain_files={CHAIN}")
    assert postfix.wiring(CHAIN) == ""
    override(lab, "587/inet", "smtpd_tls_chain_files=/etc/other.pem")
    assert "587/inet" in postfix.wiring(CHAIN)


def test_wiring_says_what_postconf_says(lab: Lab, postfix: Postfix) -> None:
    """A main.cf that cannot be read is a line like any other, with postconf's own words."""
    append(lab, "main.cf", "no equals sign\n")

    assert "missing '=' after attribute name" in postfix.wiring(CHAIN)
    assert postfix.check(CHAIN)[0].failed
    assert "/nowhere" in Postfix("/nowhere").wiring(CHAIN)


# --- what is configured today ---------------------------------------------------------------------


def test_current_chain_of_the_legacy_pair(lab: Lab, postfix: Postfix) -> None:
    """Key and certificate come from the files of the pair, and where they are is said."""
    key, chain, where = postfix.current_chain()

    assert key == lab.old.privkey.read_bytes()
    assert chain == lab.old.fullchain.read_bytes()
    tls = lab.directory / "mx" / "tls"
    assert where == f"smtpd_tls_cert_file = {tls}/cert.pem and {tls}/key.pem"


def test_current_chain_of_one_file_for_both(lab: Lab, postfix: Postfix) -> None:
    """Key and certificate in one file, as smtpd_tls_cert_file alone or as chain file, in any order."""
    both = lab.directory / "both.pem"
    both.write_bytes(lab.old.fullchain.read_bytes() + lab.old.privkey.read_bytes())
    run(["postconf", "-c", lab.mx.config_directory, "-X", "smtpd_tls_key_file"])
    lab.mx.postconf(f"smtpd_tls_cert_file={both}")
    assert postfix.current_chain()[:2] == (lab.old.privkey.read_bytes(), lab.old.fullchain.read_bytes())

    path = use(lab, new := lab.certificate(), name="chain.pem")
    key, chain, where = postfix.current_chain()
    assert (key, chain) == (new.privkey.read_bytes(), new.fullchain.read_bytes())
    assert where == f"smtpd_tls_chain_files = {path}"


@pytest.mark.fault(40)
def test_current_chain_refuses_several_algorithms(lab: Lab, postfix: Postfix) -> None:
    """RSA beside ECDSA, as pairs or in a chain file, is for a person to decide."""
    rsa = lab.certificate(key="rsa")
    lab.mx.postconf(f"smtpd_tls_eccert_file={rsa.fullchain}", f"smtpd_tls_eckey_file={rsa.privkey}")
    error = refusal(postfix.current_chain)
    assert (type(error), error.exit_code) == (MailConfigError, EX_CONFIG)
    assert "several algorithms" in error.message and "smtpd_tls_eccert_file" in error.hint

    use(lab, lab.old, rsa)
    assert "several algorithms" in refusal(postfix.current_chain).message


def test_current_chain_refuses_what_it_cannot_take(lab: Lab, postfix: Postfix) -> None:
    """A missing file, another's key, services that differ, no certificate: each says which and what to do."""
    override(lab, "587/inet", "smtpd_tls_cert_file=/etc/other.pem")
    assert "services smtp/inet and 587/inet have different" in refusal(postfix.current_chain).message
    assert postfix.current_chain(ports=[25, 465])[0] == lab.old.privkey.read_bytes()
    run(["postconf", "-c", lab.mx.config_directory, "-PX", "587/inet/smtpd_tls_cert_file"])

    lab.mx.postconf(f"smtpd_tls_key_file={lab.certificate().privkey}")
    assert isinstance(refusal(postfix.current_chain), CertificateError)

    lab.mx.postconf("smtpd_tls_key_file=/nowhere/key.pem")
    assert "/nowhere/key.pem: No such file" in refusal(postfix.current_chain).message

    lab.mx.postconf("smtpd_tls_key_file=", "smtpd_tls_cert_file=none")
    assert "deploy" in refusal(postfix.current_chain).hint


# --- what it would be configured with -------------------------------------------------------------


def test_chain_of_chooses_as_postfix_would(lab: Lab, postfix: Postfix) -> None:
    """Of the parameters of before, chain files or any pair, with their macros; what main.cf sets now does not count."""
    tls = lab.directory / "mx" / "tls"
    append(lab, "main.cf", f"tls = {tls}\n")
    legacy = postfix.point_at(CHAIN)
    pair = lab.old.privkey.read_bytes(), lab.old.fullchain.read_bytes()
    assert postfix.chain_of(legacy)[:2] == pair

    ecdsa = {"smtpd_tls_eccert_file": "$tls/cert.pem", "smtpd_tls_eckey_file": "${tls}/key.pem"}
    key, chain, where = postfix.chain_of({**ecdsa, "smtpd_tls_cert_file": ""})
    assert (key, chain) == pair
    assert where.endswith(f" = {tls}/cert.pem and {tls}/key.pem")

    chains = {"smtpd_tls_chain_files": "$tls/key.pem, $tls/cert.pem"}
    assert postfix.chain_of(chains | {"smtpd_tls_cert_file": "/ignored/beside/it.pem"})[:2] == pair
    another = use(lab, lab.certificate())
    assert (
        postfix.chain_of({"smtpd_tls_chain_files": f"{another}, $tls/key.pem, $tls/cert.pem"}, beside=[another])[:2]
        == pair
    )


def test_chain_of_looks_at_the_key(lab: Lab, postfix: Postfix) -> None:
    """A certificate alone is nothing that TLS can be offered with: its key has to be there, and to be its own."""
    previous = postfix.point_at(CHAIN)
    key = Path(previous["smtpd_tls_key_file"])
    kept = key.read_bytes()

    key.write_bytes(lab.certificate().privkey.read_bytes())
    assert isinstance(refusal(lambda: postfix.chain_of(previous)), CertificateError)
    key.unlink()
    assert f"{key}: No such file" in refusal(lambda: postfix.chain_of(previous)).message
    key.write_bytes(kept)
    assert postfix.chain_of(previous)[0] == kept
    assert "no certificate" in refusal(lambda: postfix.chain_of({})).message


# --- pointing it at our file, and back ------------------------------------------------------------


def test_point_at_and_restore(lab: Lab, postfix: Postfix, monkeypatch: pytest.MonkeyPatch) -> None:
    """main.cf names our file alone, then again exactly what it did; it never names no certificate."""
    before = sorted(main_cf(lab).splitlines())
    seen: list[str] = []
    real = postfix_module.postconf

    def watched(*arguments: str) -> str:
        output = real(*arguments)
        seen.append(main_cf(lab))
        return output

    monkeypatch.setattr(postfix_module, "postconf", watched)

    previous = postfix.point_at(CHAIN)
    assert postfix.wiring(CHAIN) == ""
    assert postfix.parameters() == {"smtpd_tls_chain_files": CHAIN}
    postfix.restore(previous)

    assert sorted(main_cf(lab).splitlines()) == before
    assert postfix.parameters() == previous
    for text in seen:
        assert f"smtpd_tls_chain_files = {CHAIN}" in text or "smtpd_tls_cert_file = " in text
    assert any("smtpd_tls_cert_file" not in text for text in seen)


def test_restore_keeps_macros_and_lists(lab: Lab, postfix: Postfix) -> None:
    """Values come back with their macros, and parameters of tlsproxy with them."""
    run(["postconf", "-c", lab.mx.config_directory, "-X", "smtpd_tls_cert_file", "smtpd_tls_key_file"])
    tls = lab.directory / "mx" / "tls"
    append(lab, "main.cf", f"tls = {tls}\nsmtpd_tls_chain_files = $tls/key.pem,\n  ${{tls}}/cert.pem\n")
    append(lab, "main.cf", "tlsproxy_tls_chain_files = $smtpd_tls_chain_files\n")
    before = postfix.parameters()

    previous = postfix.point_at(CHAIN)
    assert postfix.parameters() == {"smtpd_tls_chain_files": CHAIN}
    postfix.restore(previous)

    assert postfix.parameters() == before
    assert before["smtpd_tls_chain_files"] == "$tls/key.pem, ${tls}/cert.pem"
    assert postfix.current_chain()[0] == lab.old.privkey.read_bytes()


def test_point_at_twice_is_once(lab: Lab, postfix: Postfix) -> None:
    """A second run, after a kill, leaves the same main.cf."""
    postfix.point_at(CHAIN)
    once = main_cf(lab)
    postfix.point_at(CHAIN)
    assert main_cf(lab) == once


def test_what_a_cut_off_point_at_left_is_dropped(lab: Lab, postfix: Postfix) -> None:
    """The old parameters go once the chain file is named: not before, and not where another parameter is made of one."""
    before = main_cf(lab)
    postfix.drop_ignored()
    assert main_cf(lab) == before, "they are what is presented"

    run(["postconf", "-c", lab.mx.config_directory, "-e", f"smtpd_tls_chain_files={CHAIN}", "smtpd_tls_eccert_file=/e"])
    append(lab, "main.cf", "smtp_tls_cert_file = $smtpd_tls_cert_file\n")
    before = main_cf(lab)
    postfix.drop_ignored()
    assert main_cf(lab) == before

    run(["postconf", "-c", lab.mx.config_directory, "-X", "smtp_tls_cert_file"])
    postfix.drop_ignored()
    assert postfix.parameters() == {"smtpd_tls_chain_files": CHAIN}
    assert postfix.wiring(CHAIN) == ""


@pytest.mark.fault(54)
def test_point_at_refuses_to_change_another_service(lab: Lab, postfix: Postfix) -> None:
    """A service with a pair of its own would silently serve ours: refused before anything changes."""
    override(lab, "587/inet", "smtpd_tls_cert_file=/etc/other.pem")
    before = main_cf(lab)

    error = refusal(lambda: postfix.point_at(CHAIN))

    assert "587/inet has its own smtpd_tls_cert_file = /etc/other.pem" in error.message
    assert main_cf(lab) == before
    assert error.message in [finding.message for finding in postfix.check(CHAIN)]
    # What the hint says helps.
    command = error.hint.partition("`")[2].partition("`")[0].split()
    run(command)
    postfix.point_at(CHAIN)
    assert postfix.wiring(CHAIN) == ""


def test_point_at_refuses_to_pull_a_macro_away(lab: Lab, postfix: Postfix) -> None:
    """A client certificate that is made of $smtpd_tls_cert_file would vanish with it."""
    lab.mx.postconf("smtp_tls_cert_file=$smtpd_tls_cert_file")
    before = main_cf(lab)

    error = refusal(lambda: postfix.point_at(CHAIN))

    assert "smtp_tls_cert_file is made of $smtpd_tls_cert_file" in error.message
    assert main_cf(lab) == before


def test_restore_takes_certificate_parameters_only(lab: Lab, postfix: Postfix) -> None:
    """A record that was tampered with cannot set anything else in main.cf."""
    before = main_cf(lab)

    refusal(lambda: postfix.restore({"mynetworks": "0.0.0.0/0"}))

    assert main_cf(lab) == before


@pytest.mark.fault(71)
def test_hostile_environment_is_not_handed_on(
    lab: Lab, postfix: Postfix, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """MAIL_CONFIG, PATH, a locale and the libraries of a hook's environment change nothing."""
    expected = postfix.parameters()
    (tmp_path / "libc.so.6").touch()  # as a snap brings its own; no program starts with this one
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("MAIL_CONFIG", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")

    assert postfix.parameters() == expected != {}


# --- reload ---------------------------------------------------------------------------------------


async def test_target_installs_and_reloads(lab: Lab, postfix: Postfix) -> None:
    """Installed, pointed at, reloaded: the new chain is presented, and live() agrees with it."""
    target = PostfixTarget(postfix, lab.chain_file)
    new = lab.certificate(key="rsa")

    identity = target.install(new.privkey.read_bytes(), new.fullchain.read_bytes())
    assert target.live().wiring
    postfix.point_at(str(lab.chain_file))
    await target.reload()
    wait_for(lambda: lab.served() == new.spki, "a new process answers")

    seen = await probe(Endpoint("mail.example.test", at.MX, 25), connections=4)
    assert [chain.fingerprint for chain in seen.chains] == [new.fingerprint]
    live = target.live()
    assert (live.identity, live.problem, live.wiring) == (identity, "", "")
    assert live.chain is not None and live.chain.fingerprint == new.fingerprint
    assert target.check() == ()


@pytest.mark.fault(51)
async def test_stopped_postfix_cannot_be_reloaded(lab: Lab, postfix: Postfix) -> None:
    """It is told from a reload that failed, and the hint starts it."""
    lab.mx.stop()

    with pytest.raises(MailServerDown) as caught:
        await postfix.reload()

    assert "is not running" in caught.value.message
    assert f"postfix -c {lab.mx.config_directory} start" in caught.value.hint
    assert any("is not running" in finding.message for finding in postfix.check(CHAIN))


async def test_reload_of_a_broken_main_cf_proves_nothing(lab: Lab, postfix: Postfix) -> None:
    """`postfix reload` succeeds with a main.cf that kills smtpd: only the probe tells."""
    lab.mx.break_main_cf()

    await postfix.reload()

    seen = await probe(Endpoint("mail.example.test", at.MX, 25), timeout=3.0)
    assert seen.outcome is Outcome.NO_GREETING


def test_check_tells_of_leftovers(lab: Lab, postfix: Postfix) -> None:
    """Legacy parameters beside the chain file are a warning, with the command that removes them."""
    lab.mx.postconf(f"smtpd_tls_chain_files={CHAIN}")

    (finding,) = postfix.check(CHAIN)

    assert not finding.failed
    assert "Postfix ignores it" in finding.message
    run(finding.hint.strip("`").split())
    assert postfix.check(CHAIN) == ()
