"""What a team does on its first day: an app as Django's documentation has it, and an account at the prompt."""

from __future__ import annotations

import pexpect

from tests.support.project import PATIENCE, Project

MODEL = '''"""Posts."""

from django.db import models


class Post(models.Model):
    """A post."""

    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title
'''
ADMIN = '''"""Posts in the admin."""

from django import forms
from django.contrib import admin

from blog.models import Post


class PostForm(forms.ModelForm):
    """A form for posts."""

    class Meta:
        """Its fields."""

        model = Post
        fields = ["title"]


@admin.register(Post)
class PostAdmin(admin.ModelAdmin):
    """Posts."""

    list_display = ["title"]
    form = PostForm
'''
TESTS = '''"""Tests of posts."""

from django.test import TestCase

from blog.models import Post


class PostTests(TestCase):
    """Posts."""

    def test_an_untitled_post(self) -> None:
        self.assertEqual(str(Post()), "")
'''
PASSWORD = "correct horse battery"


def write_app(project: Project) -> None:
    """Fill the app blog, which `make startapp` has created."""
    for name, text in {"models.py": MODEL, "admin.py": ADMIN, "tests.py": TESTS}.items():
        (project.path / "blog" / name).write_text(text, encoding="utf-8")


def terminal(project: Project, command: str, *arguments: str) -> pexpect.spawn[bytes]:
    """Return a command that runs in a terminal; each wait for its output ends after PATIENCE."""
    return pexpect.spawn(
        command, list(arguments), cwd=str(project.path), env=project.engine.env | project.environment, timeout=PATIENCE
    )


def create_account(project: Project, name: str) -> None:
    """Create an account for the admin, with PASSWORD, as the prompts of `make createsuperuser` ask."""
    child = terminal(project, "make", "createsuperuser")
    for prompt, answer in (
        ("Username", name),
        ("Email", f"{name}@example.com"),
        ("Password", PASSWORD),
        ("Password", PASSWORD),
    ):
        child.expect(prompt)
        child.sendline(answer)
    child.expect("Superuser created successfully")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
