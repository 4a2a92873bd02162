"""Credentials of each shape in each place where programs let them slip, and names and texts that are none.

All are generated: none was ever valid, and none stands here as it would in a text.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _lines(name: str) -> list[str]:
    return Path(__file__).with_name(name).read_text().splitlines()


_ALPHABETS = {
    "a": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "w": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "l": "abcdefghijklmnopqrstuvwxyz",
    "L": "abcdefghijklmnopqrstuvwxyz0123456789",
    "U": "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    "d": "0123456789",
    "b": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/",
}
# <a36> stands for 36 letters and digits.
SHAPES = {
    "OpenAI": "sk-<a48>",
    "OpenAI project": "sk-proj-<w74>T3BlbkFJ<w74>",
    "Anthropic": "sk-ant-api03-<w93>AA",
    "OpenRouter": "sk-or-v1-<h64>",
    "DeepSeek": "sk-<h32>",
    "Langfuse": "sk-lf-<h8>-<h4>-<h4>-<h4>-<h12>",
    "Stripe": "sk_live_<a24>",
    "Stripe restricted": "rk_live_<a99>",
    "Stripe webhook": "whsec_<a32>",
    "GitHub": "ghp_<a36>",
    "GitHub OAuth": "gho_<a36>",
    "GitHub server": "ghs_<a36>",
    "GitHub refresh": "ghr_<a36>",
    "GitHub fine-grained": "github_pat_<a22>_<a59>",
    "GitLab": "glpat-<w20>",
    "GitLab deploy": "gldt-<w20>",
    "GitLab runner": "glrt-<w20>",
    "GitLab old runner": "GR1348941<w20>",
    "GitLab trigger": "glptt-<h40>",
    "GitLab job": "glcbt-<a2>_<w20>",
    "GitLab routable": "glpat-<w27>.01.<L9>",
    "GitLab OAuth": "gloas-<w64>",
    "AWS": "AKIA<A16>",
    "AWS temporary": "ASIA<A16>",
    "AWS pair": "AKIA<A16>:<b40>",
    "Bedrock": "ABSK<b120>",
    "Alibaba": "LTAI<a20>",
    "Google": "AIza<w35>",
    "Google OAuth": "ya29.<w120>",
    "Google client": "GOCSPX-<w28>",
    "Google refresh": "1//0<w60>",
    "Hugging Face": "hf_<a34>",
    "Hugging Face letters": "hf_<l34>",
    "Groq": "gsk_<a52>",
    "Replicate": "r8_<a37>",
    "xAI": "xai-<a80>",
    "Perplexity": "pplx-<a48>",
    "Tavily": "tvly-<a32>",
    "NVIDIA": "nvapi-<w64>",
    "Cerebras": "csk-<a48>",
    "LangSmith": "lsv2_pt_<h32>_<h10>",
    "Pinecone": "pcsk_<a60>",
    "Jina": "jina_<a60>",
    "Fireworks": "fw_<a24>",
    "ElevenLabs": "sk_<h48>",
    "Slack bot": "xoxb-<d12>-<d12>-<a24>",
    "Slack user": "xoxp-<d12>-<d12>-<d12>-<h32>",
    "Slack app": "xapp-1-<U11>-<d13>-<h64>",
    "Slack refresh": "xoxe-1-<a146>",
    "Slack rotated": "xoxe.xoxp-1-<a160>",
    "JWT": "eyJ<w33>.eyJ<w60>.<w43>",
    "JWE": "eyJ<w33>.<w40>.<w16>.<w60>.<w22>",
    "npm": "npm_<a36>",
    "PyPI": "pypi-AgEIcHlwaS5vcmc<w120>",
    "RubyGems": "rubygems_<h48>",
    "NuGet": "oy2<L43>",
    "Docker Hub": "dckr_pat_<w27>",
    "SendGrid": "SG.<w22>.<w43>",
    "Brevo": "xkeysib-<h64>-<a16>",
    "Mailgun": "key-<h32>",
    "Mailchimp": "<h32>-us12",
    "Twilio": "SK<h32>",
    "Resend": "re_<a8>_<a24>",
    "Telegram": "<d10>:AA<w33>",
    "Discord": "M<a23>.<w6>.<w38>",
    "Discord mfa": "mfa.<w84>",
    "Atlassian": "ATATT3xFfGF0<w180>=<H8>",
    "Bitbucket": "ATBB<a32>",
    "Shopify": "shpat_<h32>",
    "Shopify shared": "shpss_<h32>",
    "Square": "EAAAE<w59>",
    "Square OAuth": "sq0atp-<w22>",
    "Facebook": "EAAG<a150>",
    "DigitalOcean": "dop_v1_<h64>",
    "DigitalOcean OAuth": "doo_v1_<h64>",
    "Databricks": "dapi<h32>-2",
    "Vault": "hvs.<w95>",
    "Vault batch": "hvb.<w140>",
    "Vault old": "s.<a24>",
    "New Relic": "NRAK-<U27>",
    "New Relic licence": "<h36>NRAL",
    "New Relic EU": "eu01xx<h30>NRAL",
    "Linear": "lin_api_<a40>",
    "Notion": "ntn_<d11><a35>",
    "Notion old": "secret_<a43>",
    "Figma": "figd_<w40>",
    "Sentry": "sntryu_<h64>",
    "Sentry org": "sntrys_eyJ<a80>=_<b43>",
    "Grafana": "glsa_<a32>_<h8>",
    "Grafana cloud": "glc_<b60>=",
    "Grafana old": "eyJrIjoi<a80>==",
    "Supabase": "sbp_<h40>",
    "Supabase secret": "sb_secret_<w31>",
    "age": "AGE-SECRET-KEY-1<U58>",
    "PlanetScale": "pscale_tkn_<w43>",
    "Heroku": "HRKU-AA<w58>",
    "CircleCI": "CCIPAT_<a22>_<h40>",
    "Contentful": "CFPAT-<w43>",
    "Typeform": "tfp_<w44>",
    "Pulumi": "pul-<h40>",
    "Airtable": "pat<a14>.<h64>",
    "HubSpot": "pat-na1-<h8>-<h4>-<h4>-<h4>-<h12>",
    "SonarQube": "squ_<h40>",
    "Tailscale": "tskey-auth-<a17>-<a32>",
    "Adafruit": "aio_<a28>",
    "Prefect": "pnu_<a36>",
    "Dynatrace": "dt0c01.<U24>.<U64>",
    "Postman": "PMAK-<h24>-<h34>",
    "Infisical": "st.<h24>.<h32>.<h32>",
    "Snowflake": "ver:1-hint:2661013020-<b100>",
    "Terraform": "<a14>.atlasv1.<w67>",
    "Doppler": "dp.pt.<a43>",
    "OpenShift": "sha256~<w43>",
    "Plaid": "access-sandbox-<h8>-<h4>-<h4>-<h4>-<h12>",
    "Azure": "<a3>8Q~<w34>",
    "Mapbox": "sk.eyJ<a80>.<w22>",
    "Cursor": "crsr_<h64>",
    "Daytona": "dtn_<h64>",
    "Hex": "hxtw_<h64>",
    "n8n": "n8n_api_<h80>",
    "Cal.com": "cal_live_<h32>",
    "LangSmith old": "ls__<h32>",
    "PromptLayer": "pl_<h32>",
    "Inference.net": "inference-<h32>",
    "OpenPipe": "opk_<h42>",
    "Context7": "ctx7sk-<h8>-<h4>-<h4>-<h4>-<h12>",
    "WakaTime": "waka_<h8>-<h4>-<h4>-<h4>-<h12>",
    "Persona": "persona_production_<h8>-<h4>-<h4>-<h4>-<h12>",
    "Chutes": "cpk_<h32>.<h32>.<a32>",
    "ConfigCat": "configcat-sdk-1/<w22>/<w22>",
    "Retool": "retool_01<L26>",
    "Venice": "VENICE-ADMIN-KEY-<a40>",
    "CoreWeave": "CW-SECRET-<a40>",
    "Volcengine": "AKLT<a44>",
    "LlamaCloud": "llx-<a48>",
    "Mem0": "m0-<a40>",
    "Browser Use": "bu_<a43>",
    "Chroma": "ck-<a43>",
    "Elastic": "essu_<a60>",
    "Temporal": "tmprl_<a60>",
    "Dub": "dub_<a24>",
    "Airbyte": "airb_<a30>",
    "Friendli": "flp_<a30>",
    "Polar": "polar_oat_<a43>",
    "Cartesia": "sk_car_<a22>",
    "You.com": "ydc-sk-<h16>-<a32>",
    "Statsig": "secret-<a40>",
    "Brave Search": "BSA<a28>",
    "Lambda": "secret_my-key_<h32>.<a32>",
    "Klaviyo": "pk_<h34>",
    "Tinybird": "p.eyJ<a60>.<w40>",
    "AWS pair of texts": "AKIA<A16>', '<b40>",
    "Razorpay": "rzp_live_<a14>",
    "Neon": "napi_<L64>",
    "Artifactory": "AKCp<a69>",
    "Octopus": "API-<U26>",
    "RunPod": "rpa_<U40><a6>",
    "Atlas": "mdb_sa_sk_<w40>",
    "dbt": "dbtc_<w43>",
    "Doppler service": "dp.st.prd.<a43>",
    "PayPal": "access_token$production$<L16>$<h32>",
    "Honeycomb": "hcaik_01<L58>",
    "LaunchDarkly": "sdk-<h8>-<h4>-<h4>-<h4>-<h12>",
    "Frame.io": "fio-u-<w64>",
    "Yandex": "AQVN<w36>",
    "Modal": "as-<l8><U6><d2><l6>",
    "Helicone": "sk-helicone-<l3><d2><l2>-<l7>-<d2><l5>-<d1><l6>",
    "Adobe": "p8e-<L32>",
    "Confluent": "cflt<b60>",
    "Expo": "expo_<l8><U16><d16>",
    "Intercom": "dG9rOg<b52>==",
    "ClickUp": "pk_<d8>_<U32>",
    "Inngest": "signkey-prod-<h64>",
    "Trigger": "tr_prod_<U4><a20>",
    "Google HMAC": "GOOG1E<U55>",
    "Azure DevOps": "<a76>AZDO<a4>",
    "Firebase": "<w11>:APA91b<w134>",
    "Gitea": "gitea_<h40>",
    "Kaggle": "KGAT_<h32>",
    "Nostr": "nsec1<L58>",
    "MaxMind": "<a6>_<a29>_mmk",
    "Hugging Face OAuth": "hf_oauth_<U4>.<a60>",
    "Neon password": "npg_<a9><d3>",
    "PayPal access": "A21AA<w92>",
    "Turnstile": "0x4AAAAAAA<w25>",
}
AROUND = {
    "alone": "{}",
    "prose": "the call with {} failed",
    "quoted": "refused: '{}'",
    "list": "['a', '{}', 3]",
    "JSON": '{{"a": "{}", "b": 1}}',
    "assignment": "x={}",
    "argument": "ValueError('{}')",
    "colon": "got:{}",
    "escaped line": "first\\n{}\\nlast",
    "lines": "first\n{}\nlast",
    "percent": "q%3D{}&b=2",
    "brackets": "<{}>",
    "path": "GET https://api.example.org/v1/{}/items",
    "bytes": "b'{}'",
    "end of sentence": "It is {}.",
}
NAMES = (
    "password PASSWORD db_password DB_PASSWORD dbPassword passwd pwd passphrase secret client_secret "
    "clientSecret api_key apiKey API_KEY api-key apikey OPENAI_API_KEY access_token accessToken "
    "auth_token refresh_token token AWS_SECRET_ACCESS_KEY secret_key private_key PGPASSWORD MYSQL_PWD "
    "DB_PASS smtp_pass AccountKey SharedAccessKey x-api-key X-Auth-Token session_token signing_key "
    "encryption_key credentials webhook_secret license_key Ocp-Apim-Subscription-Key REDIS_PASSWORD "
    "contraseña clave Passwort kennwort mot_de_passe senha parola wachtwoord lösenord hasło пароль 密码 "
    "パスワード 비밀번호 סיסמה api_schlüssel nonce"
).split()
SAID = {
    "env": "{name}={value}",
    "export": "export {name}={value}",
    "env quoted": '{name}="{value}"',
    "spaces": "{name} = '{value}'",
    "JSON": '{{"user": "me", "{name}": "{value}"}}',
    "dict": "{{'{name}': '{value}'}}",
    "repr": "Client({name}='{value}', timeout=3)",
    "bytes": "{{b'{name}': b'{value}'}}",
    "YAML": "user: me\n{name}: {value}\nport: 5",
    "YAML quoted": "  {name}: '{value}'",
    "arrow": "'{name}' => '{value}'",
    "pair": "('{name}', '{value}')",
    "list pair": '["{name}", "{value}"]',
    "header": "{name}: {value}",
    "option": "run --{name} {value} --fast",
    "option=": "run --{name}={value} x",
    "argv": "['run', '--{name}', '{value}']",
    "query": "GET https://example.org/a?x=1&{name}={value}&y=2",
    "form": "user=me&{name}={value}",
    "named": '{{"name": "{name}", "value": "{value}"}}',
    "named YAML": "- name: {name}\n  value: {value}\n",
    "named repr": "EnvVar(name='{name}', value='{value}')",
    "ODBC": "Server=h;Uid=me;{name}={value};Database=d",
    "DSN": "host=h {name}={value} dbname=d",
    "docker": "docker run -e {name}={value} image",
    "escaped JSON": '"{{\\"{name}\\": \\"{value}\\"}}"',
    "XML": "<a><{name}>{value}</{name}></a>",
    "field": "user[{name}]={value}&b=1",
    "exception": "ValueError: bad config: {name}={value}",
    "percent": "x%3D1%26{name}%3D{value}",
}
# Places that say themselves what the value is.
PLACES = {
    "URL": "postgresql://me:{}@db.example.org:5432/shop",
    "URL of Redis": "redis://:{}@cache:6379/0",
    "URL of AMQP": "amqps://me:{}@mq.example.org/%2f",
    "URL of Mongo": "mongodb+srv://me:{}@c0.example.net/?w=1",
    "URL in text": "cannot connect to 'mysql+pymysql://root:{}@127.0.0.1/x'",
    "Git": "https://me:{}@git.example.org/a.git",
    "Go": "root:{}@tcp(127.0.0.1:3306)/shop",
    "Oracle": "jdbc:oracle:thin:scott/{}@//h:1521/x",
    "Bearer": "Authorization: Bearer {}",
    "bearer in text": "sent Bearer {} twice",
    "Custom": "Authorization: Token {}",
    "Cookie": "Cookie: a=b; session={}; c=d",
    "Set-Cookie": "Set-Cookie: sid={}; Path=/; HttpOnly",
    "header pair": "[(b'authorization', b'Custom {}')]",
    "curl": "curl -H 'Authorization: Bearer {}' https://example.org",
    "curl user": "curl -u me:{} https://example.org",
    "mysql": "mysql -u root -p{} shop",
    "sshpass": "sshpass -p {} ssh h",
    "docker login": "docker login -u me -p {} registry.example.org",
    "redis-cli": "redis-cli -h h -a {} ping",
    "CalledProcessError": "Command '['mysql', '-p', '{}', 'shop']' returned non-zero exit status 1.",
    "short option": "['run', '-p', '{}']",
    "SQL": "CREATE USER me IDENTIFIED BY '{}'",
    "ALTER": "ALTER ROLE me PASSWORD '{}'",
    "netrc": "machine h login me password {}",
    "prose": "wrong password: {}",
    "next line": "Username: me\nPassword:\n{}\n",
    "next line, indented": "Enter password for root: \r\n  {}\r\nlast",
    "mot de passe": "Mot de passe : {}",
    "clave de acceso": "Clave de acceso: {}",
    "Passwort": "Das Passwort lautet {}",
    "without blanks": "密码是{}",
    "SAS": "https://a.blob.core.windows.net/c?sv=1&sig={}",
    "key of an address": "https://maps.example.org/geocode?key={}",
    "Azure": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core",
    "docker auth": '{{"auths": {{"r.example.org": {{"auth": "{}"}}}}}}',
    "presigned": "https://b.example.org/o?X-Amz-Signature={}&x=1",
    "npmrc": "//registry.example.org/:_authToken={}",
    "requests": "auth=('me', '{}')",
    "mysql list": "['mysql', '-uroot', '-p{}']",
    "Slack webhook": "https://hooks.slack.com/services/T01ABCDEF/B01ABCDEF/{}",
    "is": "the password is {}",
    "Discord webhook": "posting to https://discord.com/api/webhooks/123456789012345678/{} failed",
    "Teams webhook": "https://acme.webhook.office.com/webhookb2/{}@1/IncomingWebhook/2/3",
    "URL-encoded header": "authorization%3A%20{}",
}
_ANY_PASSWORD = ("URL", "URL of AMQP", "Cookie", "sshpass", "SQL", "prose")
HARMLESS_NAMES = (
    "prompt_tokens completion_tokens max_tokens input_tokens total_tokens token_usage token_limit "
    "token_count tokens_per_second n_tokens token_type token_ids token_budget tokenizer tokenized "
    "eos_token pad_token first_token_ms time_to_first_token cookies_count cookie_domain password_length "
    "password_min_length password_policy password_changed_at jwt_decode_ms jwt_alg account_key_id "
    "access_key_id aws_access_key_id primary_key foreign_key sort_key partition_key cache_key "
    "public_key object_key keyboard monkey turkey key keys key_count secretary author authority "
    "authorized authenticated auth_method auth_ms oauth_provider secret_name secret_version "
    "secrets_count token_url token_file token_expires_at session_id session_count has_password "
    "is_secret signature_valid signature_ms design assignment passes passed pass_rate pass_count bypass "
    "compass passenger credential_source credentials_path certificate encoding code status_code "
    "error_code idempotency_key routing_method hash sha256 checksum bearer_count api_version api_url "
    "api_key_count accounts next_page_token stop_token special_tokens apikey_age_days private_key_path "
    "authorship cookiecutter salted_rows "
    "contraseña_longitud passwort_laenge pin_count gpio_pin otp_version motif hasloch"
).split()
HARMLESS_TEXTS = [
    "sk-learn-pipeline",
    "xai-explainability-report",
    "sk-image",
    "Basic authentication failed",
    "Invalid token: unexpected end",
    "max_tokens=5",
    "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
    "prompt_tokens=12, completion_tokens=30",
    "http://host:8080/mail?to=user@example.org",
    "https://example.org/a?b=c#d",
    "user@example.org",
    "12:30:45",
    'password authentication failed for user "postgres"',
    "Access denied for user 'me'@'h' (using password: YES)",
    "token_type=bearer",
    "token_limit: 4096",
    "docker run -p 8080:80 image",
    "ssh -p 22 host",
    "mkdir -p a/b/c",
    "psql -h h -p 5432 -U me",
    "python -m pytest -p no:cacheprovider",
    "cp -p a b",
    "npm:preact@10.5.13/hooks",
    "repo/name:tag@sha256:" + "0a" * 32,
    "sort_key=name",
    "primary_key=id",
    "?key=name&sort=asc",
    "key='user'",
    "the keyboard, the monkey and the secretary",
    "author: Jane Doe",
    "authorized: true",
    "auth=basic",
    "signature: (a: int, b: str) -> float",
    "2026-01-02T03:04:05.678901+00:00",
    "/data/in/part-0001.parquet",
    "C:\\data\\keys\\file.txt",
    "PWD=/home/me/project",
    "passed: 12, failed: 0",
    "pass_rate=0.97",
    "3 passed in 0.12s",
    "api_key=None",
    "password=None",
    "token=",
    "password: required",
    "API key: missing",
    "secret: null",
    "cookies: 12",
    "secrets: 4 found",
    "credentials: ok",
    "has_token=True",
    "Tokens: 1,204 in, 30 out",
    "token 5 of 9",
    "https://github.com/me/repo/blob/main/secrets.py#L10-L20",
    "git@github.com:me/repo.git",
    "ssh://git@example.org/r.git",
    "https://medium.com/@me/how-to-keep-a-secret",
    "from tokenizers import Tokenizer",
    "batch 17 of 40: 1,203 rows",
    "the token expired",
    "no password was given",
    "bearer authentication",
    "KeyError: 'user_id'",
    "key 'name' not found",
    "Basic usage: run it",
    "https://registry.npmjs.org/@scope/pkg",
    "jdbc:postgresql://h:5432/d",
    "a -> b: c => d",
    "redis://cache:6379/0",
    "mongodb://h1:27017,h2:27017/db",
    "postgresql://db/shop?sslmode=require",
    "hf_transfer",
    "password=***",
    "api_key=${API_KEY}",
    "token=$TOKEN",
    "secret={{ secret }}",
    "password=%s",
    "token=<token>",
    "--password-file /run/secrets/db",
    "--token-type bearer",
    "eyJ",
    "AKIA",
    "ghp_",
    "npm_config_cache=/tmp/x",
    "git-commit",
    "gpt-4o-mini-2024-07-18",
    "claude-sonnet-4-20250514",
    "task-12345678",
    "risk-2024-analysis-12345678",
    "s3://bucket/key/part-0.parquet",
    "arn:aws:iam::123456789012:role/name",
    "code=200",
    "exit code: 137",
    "sid=5",
    "loss=0.0123 lr=1e-4 epoch=3",
    'ETag: W/"5e15153d-120f"',
    "cost per token: 0.00002",
    "tokens: 4096",
    "otp_version=26",
    "chatcmpl-9x2mQpLr7sTuVwXyZ01AbCdE",
    "session_id=20260102_030405_0a1b2c3d4e",
]

HARMLESS_TEXTS += [
    "Password:\n",
    "Password:\nUsername: me",
    "password:\n  type: string\n  minLength: 8",
    "Passwords:\n- none",
    "keys:\n  a: 1",
    "token:\n  count: 5",
    "password:\n\nThe end",
    "Enter password:\nPermission denied, please try again.",
    "token:\nUnexpected end of input",
    "code:\nprint('x1')",
    "secret:\n  name: db",
    "seed:\n1234",
]
HARMLESS_TEXTS += _lines("harmless_texts.txt")


def credential(template: str, rng: random.Random) -> str:
    """Return one of the shape."""

    def part(found: re.Match[str]) -> str:
        alphabet = _ALPHABETS[found[1]]
        return "".join(rng.choice(alphabet) for _ in range(int(found[2])))

    return re.sub(r"<(\w)(\d+)>", part, template)


def password(rng: random.Random, *, plain: bool = False) -> str:
    """Return what a person or a generator of passwords makes up."""
    letters = _ALPHABETS["a"] + ("" if plain else "!#$%^*+=~._/-@?")
    body = "".join(rng.choice(letters) for _ in range(rng.randint(8, 20)))
    return f"{rng.choice(_ALPHABETS['l'])}{body}{rng.choice(_ALPHABETS['d'])}{rng.choice(_ALPHABETS['l'])}"


def texts(seed: int = 1) -> Iterator[tuple[str, str, str]]:
    """Yield texts: in which kind of place, the credential, and the text around it."""
    rng = random.Random(seed)
    for template in SHAPES.values():
        for kind, around in AROUND.items():
            value = credential(template, rng)
            yield f"shape, {kind}", value, around.format(value)
    for name in NAMES:
        for kind, said in SAID.items():
            value = password(rng, plain=kind in ("query", "form", "field", "percent", "XML"))
            yield f"named, {kind}", value, said.format(name=name, value=value)
    for kind, place in PLACES.items():
        for _ in range(20):
            value = password(rng, plain=kind not in _ANY_PASSWORD)
            yield f"place, {kind}", value, place.format(value)
    for line in _lines("secret_texts.txt"):
        template = re.search("⟦(.*)⟧", line)  # of a shape of its own
        value = credential(template[1], rng) if template else password(rng, plain=True)
        text = line.replace(template[0] if template else "%s", value)
        yield "line", value, text.replace("\\n", "\n") if template or "\\n " in text else text
    pem = "".join(rng.choice(_ALPHABETS["b"]) for _ in range(256))
    for kind in ("RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"):
        for line in ("\n", "\\n", " "):
            lines = (f"-----BEGIN {kind}-----", pem, f"-----END {kind}-----")
            yield "place, PEM", pem, f"a {line.join(lines)} b"
    for _ in range(20):
        value = base64.b64encode(f"me:{password(rng)}".encode()).decode()
        yield "place, Basic", value, f"Authorization: Basic {value}"
        yield "place, basic in text", value, f"sent Basic {value} twice"


def values(seed: int = 2) -> Iterator[tuple[str, str, Any]]:
    """Yield values of attributes: of which kind, the credential, and the value with it."""
    rng = random.Random(seed)
    for name in NAMES:
        for kind, make in {
            "key": lambda n, v: {n: v},
            "deep key": lambda n, v: {"a": [{"b": {n: v}}]},
            "bytes key": lambda n, v: {n.encode(): v},
            "pair": lambda n, v: [(n, v)],
            "pair of bytes": lambda n, v: [(n.encode(), v)],
            "list pair": lambda n, v: [[n, v], ["Accept", "json"]],
            "argv": lambda n, v: ["run", f"--{n}", v, "--fast"],
            "argv=": lambda n, v: ("run", f"--{n}={v}"),
            "name and value": lambda n, v: {"env": [{"name": n, "value": v}]},
            "value and name": lambda n, v: {"Value": v, "Key": n},
            "JSON": lambda n, v: json.dumps({"user": "me", n: v}),
            "repr": lambda n, v: repr({n: v, "b": 1}),
        }.items():
            value = password(rng, plain=kind in ("JSON", "repr"))
            yield kind, value, make(name, value)
