async function call(path, body) {
  const url = (process.env.BROKER_URL ?? 'http://127.0.0.1:7420') + path;
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(url, body && post);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

for (;;) {
  const { tasks } = await call('/tasks/lease?queue=emails');
  for (const { id, payload, lease } of tasks) {
    console.log('working on', payload);
    await call(`/tasks/${id}/ack`, { leaseToken: lease.token, result: 'sent' });
  }
}
