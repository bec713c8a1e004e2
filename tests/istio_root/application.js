// An application on Node's http: logs each request and answers it. Usage: node application.js PORT ADDRESS
const http = require("http");
http.createServer((request, response) => {
  console.log(JSON.stringify({ url: request.url, guard: request.headers["x-webhook-guard-endpoint"] || null }));
  response.end("from the application\n");
}).listen(Number(process.argv[2]), process.argv[3]);
