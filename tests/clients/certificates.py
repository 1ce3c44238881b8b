"""A certificate authority made with openssl."""

import subprocess


def openssl(*args, input=None, ago=None):
    then = ("faketime", ago) if ago else ()
    return subprocess.run(
        [*then, "openssl", *map(str, args)], input=input, check=True, capture_output=True, timeout=60
    )


class Authority:
    """Files are `<name>.crt` and `<name>.key` in `folder`; `ca.crt` is the authority's own."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._root("ca", "/CN=Test authority")
        self._root("stranger", "/O=Elsewhere/CN=alice")
        self.sign("server", "/CN=localhost")
        self.sign("alice", "/O=Test/OU=Devices/CN=alice")

    def crt(self, name):
        return self.folder / f"{name}.crt"

    def key(self, name):
        return self.folder / f"{name}.key"

    def _new_key(self, name):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key(name))

    def _root(self, name, subject):
        self._new_key(name)
        openssl(
            *("req", "-x509", "-new", "-key", self.key(name), "-subj", subject),
            *("-days", "30", "-out", self.crt(name)),
        )

    def sign(self, name, subject, *more):
        """Makes a key and a certificate for localhost and 127.0.0.1, over those of that name.

        `more` are further extensions, as openssl's files have them.
        """
        self._new_key(name)
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        lines = ["subjectAltName = DNS:localhost, IP:127.0.0.1", *more]
        extensions.write_text("\n".join(lines) + "\n")
        openssl("req", "-new", "-key", self.key(name), "-subj", subject, "-out", request)
        openssl(
            *("x509", "-req", "-in", request, "-days", "30", "-extfile", extensions),
            *("-CA", self.crt("ca"), "-CAkey", self.key("ca"), "-CAcreateserial"),
            *("-out", self.crt(name)),
        )

    def revoke(self, name):
        """Takes a certificate back; the lists made from then on say so."""
        openssl("ca", "-config", self._database(), "-revoke", self.crt(name))

    def enter(self, name):
        """Has the responder know a certificate, as a good one."""
        openssl("ca", "-config", self._database(), "-valid", self.crt(name))

    def answer(self, request, signer="ca", ago=None):
        """What an OCSP responder says of a request, both DER, for an hour; or has said `ago`, "2 hours ago"."""
        asked, said = self.folder / "ocsp.req", self.folder / "ocsp.resp"
        asked.write_bytes(request)
        openssl(
            *("ocsp", "-index", self.folder / "index.txt", "-CA", self.crt("ca"), "-nmin", 60),
            *("-rsigner", self.crt(signer), "-rkey", self.key(signer)),
            *("-reqin", asked, "-respout", said),
            ago=ago,
        )
        return said.read_bytes()

    def question(self, name):
        """An OCSP request about a certificate."""
        path = self.folder / "question.der"
        openssl("ocsp", "-issuer", self.crt("ca"), "-cert", self.crt(name), "-reqout", path, "-no_nonce")
        return path.read_bytes()

    def crl(self, name="list", *times):
        """Writes a revocation list, PEM, in date for a day unless `times` are options of openssl ca; its path."""
        path = self.folder / f"{name}.crl"
        times = times or ("-crldays", 1)
        unfinished = path.with_suffix(".new")
        openssl("ca", "-config", self._database(), "-gencrl", *times, "-out", unfinished)
        unfinished.rename(path)
        return path

    def _database(self):
        """What openssl ca keeps of who is revoked, made at the first use."""
        config = self.folder / "ca.cnf"
        if not config.exists():
            (self.folder / "index.txt").write_text("")
            (self.folder / "crlnumber").write_text("01\n")
            lines = [
                *("[ca]", "default_ca = ours", "[ours]", "default_md = sha256"),
                f"database = {self.folder}/index.txt",
                f"crlnumber = {self.folder}/crlnumber",
                *(f"certificate = {self.crt('ca')}", f"private_key = {self.key('ca')}"),
            ]
            config.write_text("\n".join(lines) + "\n")
        return config

    def listener(self, name="server", **keys):
        """Keys of a TLS listener that shows the certificate of that name."""
        return {
            "enabled": True,
            "bind": "127.0.0.1:0",
            "certfile": str(self.crt(name)),
            "keyfile": str(self.key(name)),
            **keys,
        }
