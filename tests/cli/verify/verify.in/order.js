fetch("https://hooks.example.com/webhook", {
  "headers": {"content-type": "application/json"},
  "body": "{\"order\": 42}",
  "method": "POST"
});
