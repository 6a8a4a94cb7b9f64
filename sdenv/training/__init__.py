"""The table of recipes: text only. One row a recipe, sorted."""

from sdenv.core.recipe import Recipe
from sdenv.core.registry import Entry, Registry

ROWS: dict[str, Entry] = {
    "autoencoder": Entry(
        "sdenv.training.recipes.autoencoder:AutoencoderRecipe", "train", "Pictures to small latents and back"
    ),
    "prepare": Entry(
        "sdenv.training.recipes.prepare:PrepareRecipe", "train", "Open emoji art to pictures and captions"
    ),
    "text-to-image": Entry(
        "sdenv.training.recipes.text_to_image:TextToImageRecipe",
        "train",
        "Text encoder and UNet from scratch",
    ),
}

RECIPES: Registry[Recipe] = Registry("recipe", "sdenv.recipes", ROWS)
