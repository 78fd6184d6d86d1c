"""The authors' weights that the paper's profile needs, beside those that pyiqa and timm fetch.

No data set: `make data PROFILE=paper` gets them, each as ``checkpoints/<name>/<name>.<ending>``
under DATA_DIR, where `lib.models.load_published` looks and checks every name and shape. A hash is
published of MSI-Net alone, on the hub's page of the file. Of SGDNet-None we know no published file.
"""

from lib.data.download import Source

DRIVE, HUB = "https://drive.google.com/uc?id=", "https://huggingface.co/alexanderkroner/MSI-Net"
TRANSALNET, SGDNET = "https://github.com/LJOVO/TranSalNet", "https://github.com/ysyscool/SGDNet"


def _one(file: str, url: str, about: str, terms: str, page: str, digest: str = "") -> Source:
    files, counts = {"": file}, {file: (1, ())}
    return Source(url, about, files, counts=counts, terms=terms, page=page, digest=digest)


MSI_NET = f"{HUB}/resolve/6bc49c197e19da6db3723c09e98eac03a7e1dad3/saved_model.pb"  # has that hash
HASH = "sha256:55f060ac63f02f8f82506acd23104f7460919d3784f3b9a521c5d5bfff47ddfd"
HAND = f"{HUB} (saved_model.pb) or {DRIVE}1Xy9C72pcA8DO4CY0rc6B7wsuE9L9DDZY (zipped)"
RES = DRIVE + "14czAAQQcRLGeiddPOM6AaTJTieu6QiHy"
DENSE = DRIVE + "1JVTYq5UE6Q0OHoOVoXWF5WW5w42jlM1T"
# There it ends in .pkl, and is HDF5: Keras saved it.
OUTPUT = DRIVE + "1yvOPZw-CnKH3_lcdI8YRlfash2lXejz4"
SOURCE = {
    "msi-net": _one("msi-net.pb", MSI_NET, "100 MB", "MIT", HAND, HASH),
    # Sizes are those of the arrays, in float32; the authors state none.
    "transalnet-res": _one("transalnet-res.pth", RES, "~290 MB", "MIT", TRANSALNET),
    "transalnet-dense": _one("transalnet-dense.pth", DENSE, "~307 MB", "MIT", TRANSALNET),
    "sgdnet-output": _one("sgdnet-output.h5", OUTPUT, "size unstated", "none stated", SGDNET),
}
