"""Users and their tokens in the API."""

from django.conf import settings
from django.db.models import QuerySet
from django.utils.timezone import now
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from knox.views import LoginView
from rest_framework.authtoken.serializers import AuthTokenSerializer
from rest_framework.decorators import action
from rest_framework.exceptions import Throttled
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.mixins import DestroyModelMixin, ListModelMixin
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import CharField, DateTimeField, ModelSerializer
from rest_framework.throttling import AnonRateThrottle
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from accounts.models import User


class UserSerializer(ModelSerializer[User]):
    """The fields of a user that the API shows."""

    class Meta:
        model = User
        fields = ("id", "username", "email", "first_name", "last_name")
        read_only_fields = ("id", "username")


class UserViewSet(ReadOnlyModelViewSet[User]):
    """All users, if you may view them as in the admin, and your own account."""

    queryset = User.objects.order_by("pk")
    serializer_class = UserSerializer
    filter_backends = (DjangoFilterBackend, SearchFilter, OrderingFilter)
    filterset_fields = ("is_active", "is_staff")
    search_fields = ("username", "email", "first_name", "last_name")
    ordering_fields = ("username", "date_joined")

    @extend_schema(methods=["PATCH"], request=UserSerializer)
    @action(detail=False, methods=["get", "patch"], pagination_class=None, permission_classes=[IsAuthenticated])
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
    """A username and a password for a token, which nothing else shows again."""

    # Limited in length, because django-axes stores the username of a failed login.
    username = CharField(max_length=User._meta.get_field("username").max_length, write_only=True)
    expiry = DateTimeField(read_only=True)


class TokenView(LoginView):  # type: ignore[misc]
    """Exchange a username and a password for a token, to be sent as `Authorization: Token …`."""

    # No authentication: AnonRateThrottle ignores signed-in users, who could then guess without limit.
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (LoginRateThrottle,)
    kept = 20  # tokens of one user: the oldest ends when there is one more

    @extend_schema(request=TokenSerializer, responses=TokenSerializer)
    def post(self, request: Request) -> Response:
        """Check the password, and create a token."""
        serializer = TokenSerializer(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        request.user = serializer.validated_data["user"]
        tokens = AuthToken.objects.filter(user=request.user).order_by("-created").values_list("pk", flat=True)
        AuthToken.objects.filter(pk__in=list(tokens[self.kept - 1 :])).delete()
        response: Response = super().post(request)
        return response

    def handle_exception(self, exc: Exception) -> Response:
        """Report a lockout after too many wrong passwords as 429."""
        if getattr(self.request, "axes_locked_out", False):
            exc = Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), "Too many wrong passwords.")
        response: Response = super().handle_exception(exc)
        return response


class TokenDetailSerializer(ModelSerializer[AuthToken]):
    """What is known of a token: its first characters and when it ends. The site stores only its hash."""

    class Meta:
        model = AuthToken
        fields = ("token_key", "created", "expiry")


class TokenViewSet(ListModelMixin, DestroyModelMixin, GenericViewSet[AuthToken]):
    """Your tokens: list them, and revoke one by its first 15 characters."""

    queryset = AuthToken.objects.order_by("-created")
    serializer_class = TokenDetailSerializer
    permission_classes = (IsAuthenticated,)
    lookup_field = "token_key"

    def get_queryset(self) -> QuerySet[AuthToken]:
        """Return your tokens that have not expired."""
        return super().get_queryset().filter(user__pk=self.request.user.pk).exclude(expiry__lte=now())
