// Runs Slack's own receiver on a free port of the loopback interface, and prints the port. The argument is the signing
// secret. The receiver ends with the input. Packages are resolved from the working directory.

const { default: bolt } = await import("@slack/bolt");
const logLevel = bolt.LogLevel.ERROR;
const signingSecret = process.argv.at(-1);
const receiver = new bolt.HTTPReceiver({ signingSecret, endpoints: ["/slack"], logLevel });
const app = new bolt.App({ receiver, token: "xoxb-test", tokenVerificationEnabled: false, logLevel });
const server = await app.start({ port: 0, host: "127.0.0.1" });
console.log(server.address().port);
process.stdin.on("end", () => process.exit()).resume();
