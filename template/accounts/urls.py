"""Signing in and out, and passwords: Django's views, in the site's look."""

from django.contrib.auth import views
from django.contrib.auth.decorators import login_required
from django.urls import path
from django.views.generic import TemplateView

from accounts.forms import ResetForm

SENT = "If an account has this address, a mail with a link is on its way. It may take a few minutes."
FORM = {"template_name": "form.html"}

# The paths of django.contrib.auth.urls: the settings' defaults, such as LOGIN_URL, name them.
urlpatterns = [
    path("profile/", login_required(TemplateView.as_view(template_name="account.html")), name="account"),
    path("login/", views.LoginView.as_view(**FORM, extra_context={"title": "Sign in"}), name="login"),
    path("logout/", views.LogoutView.as_view(next_page="home"), name="logout"),
    path("password_change/", views.PasswordChangeView.as_view(**FORM), name="password_change"),
    path("password_change/done/", views.PasswordChangeDoneView.as_view(**FORM), name="password_change_done"),
    path("password_reset/", views.PasswordResetView.as_view(**FORM, form_class=ResetForm), name="password_reset"),
    path(
        "password_reset/done/",
        views.PasswordResetDoneView.as_view(**FORM, extra_context={"text": SENT}),
        name="password_reset_done",
    ),
    path("reset/<uidb64>/<token>/", views.PasswordResetConfirmView.as_view(**FORM), name="password_reset_confirm"),
    path("reset/done/", views.PasswordResetCompleteView.as_view(**FORM), name="password_reset_complete"),
]
