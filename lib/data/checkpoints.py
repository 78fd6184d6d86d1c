"""The authors' weights that the paper's profile needs, beside those that pyiqa and timm fetch.

No data set: `make data PROFILE=paper` gets them, each as ``checkpoints/<name>/<name>.<ending>``
under DATA_DIR, where `lib.models.load_published` looks. No hashes are published: the loader checks
every name and shape. Of SGDNet-None we know no published file.
"""

from lib.data.download import Source

DRIVE, HUB = "https://drive.google.com/uc?id=", "https://huggingface.co/alexanderkroner/MSI-Net"
# The commit that holds all constants in one file; the hub's newest may not.
COMMIT = "6bc49c197e19da6db3723c09e98eac03a7e1dad3"


def _one(file: str, url: str, about: str, terms: str, page: str) -> Source:
    files, counts = {"": file}, {file: (1, ())}
    return Source(url, about, files, counts=counts, terms=terms, page=page)


TRANSALNET, SGDNET = "https://github.com/LJOVO/TranSalNet", "https://github.com/ysyscool/SGDNet"
RES, DENSE = "14czAAQQcRLGeiddPOM6AaTJTieu6QiHy", "1JVTYq5UE6Q0OHoOVoXWF5WW5w42jlM1T"
MSI_NET, OUTPUT = f"{HUB}/resolve/{COMMIT}/saved_model.pb", "1yvOPZw-CnKH3_lcdI8YRlfash2lXejz4"
SOURCE = {
    "msi-net": _one("msi-net.pb", MSI_NET, "100 MB", "MIT", HUB),
    "transalnet-res": _one("transalnet-res.pth", DRIVE + RES, "300 MB", "MIT", TRANSALNET),
    "transalnet-dense": _one("transalnet-dense.pth", DRIVE + DENSE, "300 MB", "MIT", TRANSALNET),
    "sgdnet-output": _one("sgdnet-output.h5", DRIVE + OUTPUT, "110 MB", "none stated", SGDNET),
}
