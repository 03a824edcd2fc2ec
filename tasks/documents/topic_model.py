"""The topic model of the published set: trained from its recipe at first use, kept by content."""

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from policy.documents import ModelRecipe
from policy.linear import LinearModel
from tasks.documents.publish import Published


def topic_model(published: Published, folder: Path) -> LinearModel | None:
    """The recipe's model, or None for a set without one. Trains at most once per content."""
    recipe = published.documents.model
    if recipe is None:
        return None
    data = published.files[recipe.data]
    path = folder / f"{recipe.model}-{version(recipe, data)}.bin"
    if not path.is_file():
        train_recipe(recipe, data, path)
    return LinearModel.from_bytes(path.read_bytes())


def version(recipe: ModelRecipe, data: bytes) -> str:
    return sha256(f"{recipe.text}\0{recipe.label}\0".encode() + data).hexdigest()[:16]


def train_recipe(recipe: ModelRecipe, data: bytes, path: Path) -> None:
    """Train from the published bytes and put the model in place whole."""
    from tasks.documents.records import read_records
    from tasks.documents.train_model import train

    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as draft:
        examples = Path(draft) / Path(recipe.data).name
        examples.write_bytes(data)
        model = train(
            read_records(examples), text=recipe.text, label=recipe.label, name=recipe.model
        )
        finished = Path(draft) / "model.bin"
        finished.write_bytes(model.to_bytes())
        finished.replace(path)
