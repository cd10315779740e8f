"""A team's app, to add to a project: numbered rows, each with a text and a file."""

from __future__ import annotations

# In the app: file -> text.
LEDGER = {
    "__init__.py": "",
    "migrations/__init__.py": "",
    "migrations/0001_initial.py": """
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Entry",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("number", models.IntegerField(unique=True)),
                ("text", models.TextField()),
                ("file", models.FileField(upload_to="ledger/%H/%M")),
            ],
        ),
    ]
""",
    "models.py": """
from django.db import models


class Entry(models.Model):
    id = models.BigAutoField(primary_key=True)
    number = models.IntegerField(unique=True)
    text = models.TextField()
    file = models.FileField(upload_to="ledger/%H/%M")
""",
}
