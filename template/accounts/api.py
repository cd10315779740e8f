"""Users in the API: each sees their own account, staff see all."""

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.authtoken.serializers import AuthTokenSerializer
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.decorators import action
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import CharField, ModelSerializer
from rest_framework.throttling import AnonRateThrottle
from rest_framework.viewsets import ReadOnlyModelViewSet

from accounts.models import User


class UserSerializer(ModelSerializer[User]):
    """The fields of a user that the API shows."""

    class Meta:
        model = User
        fields = ("id", "username", "email", "first_name", "last_name")
        read_only_fields = ("id", "username")


class UserViewSet(ReadOnlyModelViewSet[User]):
    """The users that you may see: your own account, or all if you are staff."""

    queryset = User.objects.order_by("pk")
    serializer_class = UserSerializer

    def get_queryset(self) -> QuerySet[User]:
        """Limit users who are not staff to their own account."""
        user = self.request.user
        users = super().get_queryset()
        return users if user.is_staff else users.filter(username=user.get_username())

    @extend_schema(methods=["PATCH"], request=UserSerializer)
    @action(detail=False, methods=["get", "patch"], pagination_class=None)
    def me(self, request: Request) -> Response:
        """Read or change your own account."""
        if request.method == "PATCH":
            serializer = self.get_serializer(request.user, data=request.data, partial=True)
            serializer.is_valid(raise_exception=True)
            serializer.save()
            return Response(serializer.data)
        return Response(self.get_serializer(request.user).data)


class LoginRateThrottle(AnonRateThrottle):
    """Limit the login attempts from one address."""

    scope = "login"


class TokenSerializer(AuthTokenSerializer):
    """A username and a password."""

    # Limited in length, because django-axes stores the username of a failed login.
    username = CharField(max_length=User._meta.get_field("username").max_length, write_only=True)


class TokenView(ObtainAuthToken):
    """Exchange a username and a password for a token, to be sent as `Authorization: Token …`."""

    # No authentication: AnonRateThrottle ignores signed-in users, who could then guess without limit.
    authentication_classes = ()
    throttle_classes = (LoginRateThrottle,)
    serializer_class = TokenSerializer

    def handle_exception(self, exc: Exception) -> Response:
        """Report a lockout after too many wrong passwords as 429."""
        if getattr(self.request, "axes_locked_out", False):
            exc = Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), "Too many wrong passwords.")
        return super().handle_exception(exc)
