// Runs the senders' own packages behind one interface. Each line of the input is a request in JSON. The answer is a line
// of JSON: {"signed": {"headers": ..., "body": ...}}, {"accepted": true or false}, or {"error": ...} if the package
// could not be called.
//
// A request has `preset`, `ask` ("sign" or "verify"), `secret`, `key_id`, `method`, `url`, `headers`, `body` and `at`.
// Names of headers are in lower case, and `at` is the time of signing in ms. Packages are resolved from the working
// directory and loaded on first use. A verifier accepts unless it throws or returns false.

import { createInterface } from "node:readline";
import { createSecretKey } from "node:crypto";

const seconds = (at) => Math.floor(at / 1000);
const path = (url) => url.slice(new URL(url).origin.length);
const query = (url) => Object.fromEntries(new URL(url).searchParams);
const form = (body) => Object.fromEntries(new URLSearchParams(body));
const isForm = (request) => String(request.headers["content-type"]).includes("urlencoded");

const PRESETS = {
  async adyen() {
    const validator = await adyen();
    return {
      verify: ({ body, secret, headers }) =>
        validator.validateHMACSignature(secret, headers["hmacsignature"], body),
    };
  },

  async "adyen-payments"() {
    const validator = await adyen();
    const item = (notification) => notification.notificationItems[0].NotificationRequestItem;
    return {
      sign({ body, secret }) {
        const notification = JSON.parse(body);
        const hmacSignature = validator.calculateHmac(item(notification), secret);
        item(notification).additionalData = { hmacSignature };
        return { body: JSON.stringify(notification) };
      },
      verify: ({ body, secret }) => validator.validateHMAC(item(JSON.parse(body)), secret),
    };
  },

  async box() {
    const { default: Box } = await import("box-node-sdk");
    return {
      verify: ({ body, secret, headers }) => Box.validateWebhookMessage(body, headers, secret, null),
    };
  },

  async braintree() {
    const { default: braintree } = await import("braintree");
    const gateway = ({ key_id, secret }) =>
      new braintree.BraintreeGateway({
        environment: braintree.Environment.Sandbox,
        merchantId: "merchant",
        publicKey: key_id,
        privateKey: secret,
      });
    const { SubscriptionWentPastDue } = braintree.WebhookNotification.Kind;
    return {
      sign(request) {
        const sample = gateway(request).webhookTesting.sampleNotification(SubscriptionWentPastDue, "42");
        return { body: new URLSearchParams(sample).toString() };
      },
      async verify(request) {
        const { bt_signature, bt_payload } = form(request.body);
        await gateway(request).webhookNotification.parse(bt_signature, bt_payload);
      },
    };
  },

  async chargebee() {
    const { basicAuthValidator } = await import("chargebee");
    return {
      verify: ({ secret, headers }) =>
        basicAuthValidator((user, password) => `${user}:${password}` === secret)(headers),
    };
  },

  async "coinbase-commerce"() {
    const { default: coinbase } = await import("coinbase-commerce-node");
    return {
      verify: ({ body, secret, headers }) =>
        void coinbase.Webhook.verifySigHeader(body, headers["x-cc-webhook-signature"], secret),
    };
  },

  async contentful() {
    const { signRequest, verifyRequest } = await import("@contentful/node-apps-toolkit");
    const canonical = ({ method, url, headers, body }) => ({ method, path: path(url), headers, body });
    return {
      sign: (request) => ({ headers: signRequest(request.secret, canonical(request), request.at) }),
      verify: (request) => verifyRequest(request.secret, canonical(request)),
    };
  },

  async discord() {
    const { verifyKey } = await import("discord-interactions");
    return {
      verify: ({ body, secret, headers }) =>
        verifyKey(body, headers["x-signature-ed25519"], headers["x-signature-timestamp"], secret),
    };
  },

  async easypost() {
    const { default: EasyPost } = await import("@easypost/api");
    const { Utils } = new EasyPost("key");
    const header = "X-Hmac-Signature";
    return {
      verify: ({ body, secret, headers }) =>
        void Utils.validateWebhook(Buffer.from(body), { [header]: headers[header.toLowerCase()] }, secret),
    };
  },

  async github() {
    const { sign, verify } = await import("@octokit/webhooks-methods");
    return {
      sign: async ({ body, secret }) => ({ headers: { "X-Hub-Signature-256": await sign(secret, body) } }),
      verify: ({ body, secret, headers }) => verify(secret, body, headers["x-hub-signature-256"]),
    };
  },

  async gocardless() {
    const { parse } = await import("gocardless-nodejs/webhooks");
    return {
      verify: ({ body, secret, headers }) => void parse(body, secret, headers["webhook-signature"]),
    };
  },

  hubspot: () => hubspot("v3", "X-HubSpot-Signature-v3"),
  "hubspot-v1": () => hubspot("v1", "X-HubSpot-Signature"),
  "hubspot-v2": () => hubspot("v2", "X-HubSpot-Signature"),

  async line() {
    const { validateSignature } = await import("@line/bot-sdk");
    return {
      verify: ({ body, secret, headers }) => validateSignature(body, secret, headers["x-line-signature"]),
    };
  },

  async linear() {
    const { LinearWebhookClient } = await import("@linear/sdk/webhooks");
    return {
      verify: ({ body, secret, headers }) =>
        new LinearWebhookClient(secret).verify(
          Buffer.from(body), headers["linear-signature"], JSON.parse(body).webhookTimestamp),
    };
  },

  async lithic() {
    const { default: Lithic } = await import("lithic");
    const { webhooks } = new Lithic({ apiKey: "key" });
    return {
      verify: ({ body, secret, headers }) => void webhooks.verifySignature(body, headers, secret),
    };
  },

  async "mercado-pago"() {
    const { WebhookSignatureValidator } = await import("mercadopago");
    return {
      verify: ({ url, secret, headers }) =>
        WebhookSignatureValidator.validate({
          xSignature: headers["x-signature"],
          xRequestId: headers["x-request-id"],
          dataId: query(url)["data.id"],
          secret,
        }),
    };
  },

  async messagebird() {
    const { default: signature } = await import("messagebird/lib/signature.js");
    const message = ({ headers, url, body }) => ({ headers, query: query(url), body });
    return {
      sign(request) {
        const header = "messagebird-request-timestamp";
        const headers = { [header]: String(seconds(request.at)) };
        const made = signature.generate({ ...message(request), headers }, request.secret);
        return { headers: { ...headers, "messagebird-signature": made.toString("base64") } };
      },
      verify: (request) => signature.validate(message(request), request.secret),
    };
  },

  async "messagebird-jwt"() {
    const { default: jwt } = await import("messagebird/lib/webhook-signature-jwt.js");
    return {
      async verify({ url, body, secret, headers }) {
        const key = createSecretKey(Buffer.from(secret));
        await jwt.verify(url, Buffer.from(body), headers["messagebird-signature-jwt"], key);
      },
    };
  },

  async mux() {
    const { default: Mux } = await import("@mux/mux-node");
    const { webhooks } = new Mux({ tokenId: "id", tokenSecret: "secret" });
    return {
      async verify({ body, secret, headers }) {
        await webhooks.verifySignature(body, headers, secret);
      },
    };
  },

  async notion() {
    const { signWebhookPayload, verifyWebhookSignature } = await import("@notionhq/client");
    return {
      sign: async ({ body, secret: verificationToken }) => ({
        headers: { "X-Notion-Signature": await signWebhookPayload({ body, verificationToken }) },
      }),
      verify: ({ body, secret: verificationToken, headers }) =>
        verifyWebhookSignature({ body, verificationToken, signature: headers["x-notion-signature"] }),
    };
  },

  async openai() {
    const { OpenAI } = await import("openai");
    const { webhooks } = new OpenAI({ apiKey: "key" });
    return {
      async verify({ body, secret, headers }) {
        await webhooks.verifySignature(body, headers, secret);
      },
    };
  },

  async paddle() {
    const { Paddle } = await import("@paddle/paddle-node-sdk");
    const { webhooks } = new Paddle("key");
    return {
      verify: ({ body, secret, headers }) =>
        webhooks.isSignatureValid(body, secret, headers["paddle-signature"]),
    };
  },

  async plivo() {
    const { default: plivo } = await import("plivo");
    return {
      verify: ({ url, secret, headers }) =>
        plivo.validateSignature(
          url, headers["x-plivo-signature-v2-nonce"], headers["x-plivo-signature-v2"], secret),
    };
  },

  async "plivo-v3"() {
    const { default: plivo } = await import("plivo");
    return {
      verify({ method, url, body, secret, headers }) {
        const nonce = headers["x-plivo-signature-v3-nonce"];
        const signature = headers["x-plivo-signature-v3"];
        return plivo.validateV3Signature(method, url, nonce, secret, signature, form(body));
      },
    };
  },

  async pusher() {
    const { default: Pusher } = await import("pusher");
    return {
      verify: ({ body, secret, key_id, headers }) =>
        new Pusher({ appId: "1", key: key_id, secret }).webhook({ headers, rawBody: body }).isValid(),
    };
  },

  async getstream() {
    const { StreamChat } = await import("stream-chat");
    return {
      verify: ({ body, secret, headers }) => new StreamChat("key", secret).verifyWebhook(body, headers["x-signature"]),
    };
  },

  async razorpay() {
    const { default: Razorpay } = await import("razorpay");
    return {
      verify: ({ body, secret, headers }) =>
        Razorpay.validateWebhookSignature(body, headers["x-razorpay-signature"], secret),
    };
  },

  async replicate() {
    const { validateWebhook } = await import("replicate");
    return {
      verify: ({ body, secret, headers }) => validateWebhook({ headers, body }, secret),
    };
  },

  async resend() {
    const { Resend } = await import("resend");
    const { webhooks } = new Resend("re_key");
    const named = (headers) =>
      Object.fromEntries(["id", "timestamp", "signature"].map((name) => [name, headers[`svix-${name}`]]));
    return {
      verify: ({ body, secret, headers }) =>
        void webhooks.verify({ payload: body, headers: named(headers), webhookSecret: secret }),
    };
  },

  async sanity() {
    const { encodeSignatureHeader, isValidSignature } = await import("@sanity/webhook");
    const header = "sanity-webhook-signature";
    return {
      sign: async ({ body, secret, at }) => ({
        headers: { [header]: await encodeSignatureHeader(body, at, secret) },
      }),
      verify: ({ body, secret, headers }) => isValidSignature(body, headers[header], secret),
    };
  },

  async sendgrid() {
    const { default: sendgrid } = await import("@sendgrid/eventwebhook");
    const { EventWebhook, EventWebhookHeader } = sendgrid;
    return {
      verify({ body, secret, headers }) {
        const [signature, timestamp] = ["SIGNATURE", "TIMESTAMP"].map(
          (which) => headers[EventWebhookHeader[which]().toLowerCase()]);
        const webhook = new EventWebhook();
        const key = webhook.convertPublicKeyToECDSA(secret);
        return webhook.verifySignature(key, body, signature, timestamp);
      },
    };
  },

  async shopify() {
    await import("@shopify/shopify-api/adapters/node");
    const { shopifyApi, ApiVersion, LogSeverity } = await import("@shopify/shopify-api");
    const options = {
      apiKey: "key",
      hostName: "hooks.example.com",
      apiVersion: Object.values(ApiVersion)[0],
      isEmbeddedApp: true,
      logger: { level: LogSeverity.Error },
    };
    return {
      async verify({ method, url, body, secret, headers }) {
        const { webhooks } = shopifyApi({ ...options, apiSecretKey: secret });
        const rawRequest = { method, url: path(url), headers };
        return (await webhooks.validate({ rawBody: body, rawRequest, rawResponse: {} })).valid;
      },
    };
  },

  async slack() {
    const { default: bolt } = await import("@slack/bolt");
    return {
      verify: ({ body, secret: signingSecret, headers }) =>
        bolt.verifySlackRequest({ signingSecret, body, headers }),
    };
  },

  async square() {
    const { default: square } = await import("square");
    return {
      verify: ({ url, body, secret, headers }) =>
        square.WebhooksHelper.isValidWebhookEventSignature(
          body, headers["x-square-hmacsha256-signature"], secret, url),
    };
  },

  "standard-webhooks": () => standardWebhooks("standardwebhooks"),
  svix: () => standardWebhooks("svix"),

  async stripe() {
    const { default: Stripe } = await import("stripe");
    const { webhooks } = new Stripe("sk_test_key");
    return {
      sign({ body, secret, at }) {
        const made = webhooks.generateTestHeaderString({ payload: body, secret, timestamp: seconds(at) });
        return { headers: { "Stripe-Signature": made } };
      },
      verify: ({ body, secret, headers }) =>
        void webhooks.constructEvent(body, headers["stripe-signature"], secret),
    };
  },

  async telnyx() {
    const { default: Telnyx } = await import("telnyx");
    const { webhooks } = new Telnyx("key");
    const bytes = (text) => Buffer.from(text, "base64");
    return {
      verify({ body, secret, headers }) {
        const signature = bytes(headers["telnyx-signature-ed25519"]);
        webhooks.constructEvent(body, signature, headers["telnyx-timestamp"], bytes(secret));
      },
    };
  },

  async twilio() {
    const { default: twilio } = await import("twilio");
    const fields = (request) => (isForm(request) ? form(request.body) : {});
    const algorithm = ({ headers }) =>
      twilio.getSignatureAlgorithm(headers["x-twilio-webhooks-signature-settings"]);
    return {
      sign(request) {
        const { secret, url } = request;
        const made = twilio.getExpectedTwilioSignature(secret, url, fields(request), algorithm(request));
        return { headers: { "X-Twilio-Signature": made } };
      },
      verify(request) {
        const { secret, url, body } = request;
        const signature = request.headers["x-twilio-signature"];
        return isForm(request)
          ? twilio.validateRequest(secret, signature, url, fields(request), algorithm(request))
          : twilio.validateRequestWithBody(secret, signature, url, body, algorithm(request));
      },
    };
  },

  async vonage() {
    const { verifySignature } = await import("@vonage/jwt");
    return {
      verify: ({ secret, headers }) =>
        verifySignature(headers["authorization"].slice("Bearer ".length), secret),
    };
  },

  async workos() {
    const { WorkOS } = await import("@workos-inc/node");
    const { webhooks } = new WorkOS("sk_test_key");
    // The package wants the body parsed, and writes it as JSON again.
    return {
      async sign({ body, secret, at }) {
        const made = await webhooks.computeSignature(at, JSON.parse(body), secret);
        return { headers: { "WorkOS-Signature": `t=${at}, v1=${made}` } };
      },
      verify: ({ body, secret, headers }) =>
        webhooks.verifyHeader({ payload: JSON.parse(body), sigHeader: headers["workos-signature"], secret }),
    };
  },

  async zoom() {
    const { AwsLambdaReceiver } = await import("@zoom/rivet/meetings");
    return {
      // The package has no verifier, so its receiver decides: the delivery must reach it.
      async verify({ body, secret, headers }) {
        const receiver = new AwsLambdaReceiver({ webhooksSecretToken: secret });
        receiver.init({ eventEmitter: { emit: async () => {} } });
        const answer = await receiver.start()({ headers, body, isBase64Encoded: false }, {});
        return answer.statusCode === 200;
      },
    };
  },
};

async function adyen() {
  const { default: library } = await import("@adyen/api-library");
  return new library.hmacValidator();
}

async function hubspot(version, header) {
  const { default: library } = await import("@hubspot/api-client");
  const options = ({ body, secret, url, at }) => ({
    clientSecret: secret,
    requestBody: body,
    url,
    timestamp: at,
  });
  const time = "x-hubspot-request-timestamp";
  return {
    sign: (request) => ({
      headers: {
        [header]: library.Signature.getSignature(request.method, version, options(request)),
        ...(version === "v3" ? { [time]: String(request.at) } : {}),
      },
    }),
    verify: (request) =>
      library.Signature.isValid({
        ...options({ ...request, at: Number(request.headers[time]) }),
        method: request.method,
        signatureVersion: version,
        signature: request.headers[header.toLowerCase()],
      }),
  };
}

async function standardWebhooks(name) {
  const { Webhook } = await import(name);
  return {
    sign({ body, secret, at }) {
      const id = `msg_${at}`;
      const made = new Webhook(secret).sign(id, new Date(at), body);
      const prefix = name === "svix" ? "svix" : "webhook";
      return {
        headers: {
          [`${prefix}-id`]: id,
          [`${prefix}-timestamp`]: String(seconds(at)),
          [`${prefix}-signature`]: made,
        },
      };
    },
    verify: ({ body, secret, headers }) => void new Webhook(secret).verify(body, headers),
  };
}

const loaded = {};

/** What a package says; that it cannot be asked is an error and no verdict. */
async function answer(request) {
  if (request.ask === "names") return { names: Object.keys(PRESETS) };
  const sdk = await (loaded[request.preset] ??= PRESETS[request.preset]());
  if (request.ask === "sign") return { signed: sdk.sign ? await sdk.sign(request) : null };
  try {
    return { accepted: (await sdk.verify(request)) !== false };
  } catch (error) {
    if (error instanceof TypeError || error instanceof ReferenceError) throw error;
    return { accepted: false, why: String(error?.message ?? error) };
  }
}

const write = process.stdout.write.bind(process.stdout);
// Discards the output of packages.
console.log = console.info = console.debug = console.error;

for await (const line of createInterface({ input: process.stdin })) {
  const said = await answer(JSON.parse(line)).catch((error) => ({ error: String(error?.stack ?? error) }));
  write(`${JSON.stringify(said)}\n`);
}
