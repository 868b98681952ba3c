/** What every task and every peer's job carries: 128 bytes of JSON, as an order or a mail would. */
export const PAYLOAD = {
  to: 'ada.lovelace@example.org',
  template: 'order-confirmation',
  order: 8_675_309,
  note: 'thank you and see you again soon, Ada',
} as const;

export const PAYLOAD_TEXT = JSON.stringify(PAYLOAD);

/** The queue that everything goes through. */
export const QUEUE = 'bench';
