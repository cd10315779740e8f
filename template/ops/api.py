"""Who may use the API: the permissions are those that the admin asks for, and a new password ends a user's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import DjangoModelPermissions

if TYPE_CHECKING:  # importing views here would be circular
    from rest_framework.request import Request
    from rest_framework.views import APIView


class Permissions(DjangoModelPermissions):
    """Ask for the view, add, change or delete permission of a model; a view without one takes any signed-in user."""

    perms_map = DjangoModelPermissions.perms_map | {
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the user may make this request."""
        own = getattr(getattr(view, "get_queryset", None), "__module__", "rest_framework.generics")
        if getattr(view, "queryset", None) is None and own == "rest_framework.generics":
            return bool(request.user and request.user.is_authenticated)
        return super().has_permission(request, view)


class TokensEnd:
    """Not a validator, but listed as one: Django tells each when a password has changed."""

    def validate(self, password: str, user: Any = None) -> None:
        """Accept every password."""

    def get_help_text(self) -> str:
        """Return the line that forms show beside the rules for passwords."""
        return "A new password ends your API tokens."

    def password_changed(self, password: str, user: Any) -> None:
        """Delete the user's tokens."""
        user.auth_token_set.all().delete()
