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

# Adds as many rows as the argument says, each with a file of 20 KB that does not compress.
ADD = """
import os
from django.core.files.base import ContentFile
from ledger.models import Entry
for number in range(Entry.objects.count(), Entry.objects.count() + {}):
    Entry.objects.create(number=number, text="Ærø 日本", file=ContentFile(os.urandom(20_000), f"{{number}}.bin"))
"""
# Prints the number of rows, and a digest of all rows and files.
LOOK = """
import hashlib, json
from ledger.models import Entry
digest = hashlib.sha256()
for entry in Entry.objects.order_by("number"):
    digest.update(f"{entry.number} {entry.text} {entry.file.name}".encode() + entry.file.open().read())
print(json.dumps([Entry.objects.count(), digest.hexdigest()]))
"""
